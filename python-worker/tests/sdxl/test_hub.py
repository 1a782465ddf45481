"""Fetches models from a local server with the Hugging Face hub's endpoints."""

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from easel_worker.sdxl.folder import hub, hub_files
from easel_worker.sdxl.folder.checkpoint import WeightsError
from easel_worker.sdxl.folder.fetch_errors import explain
from easel_worker.sdxl.folder.fetch_progress import LINE_EVERY_S, ProgressLines
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.folder.hub import HubModel
from easel_worker.sdxl.folder.hub_files import HubError
from parity import original_layout
from tests.sdxl import tiny_model
from tests.sdxl.engines import start
from tests.support.hub import BRANCH, COMMIT, REPOSITORY, Hub, serving

MODEL = HubModel(REPOSITORY, COMMIT)
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
CHUNK = 10 * 2**20
"""Bytes that the hub's client writes at once."""

NOT_READ = {
    "README.md": b"not read",
    "unet/model.onnx": b"not read",
    "unet/diffusion_pytorch_model.safetensors": b"full precision",
    "unet/diffusion_pytorch_model.non_ema.safetensors": b"another variant",
    "text_encoder/flax_model.msgpack": b"not read",
    "vae_1_0/diffusion_pytorch_model.safetensors": b"not a component",
    "sd_xl_base_1.0.safetensors": b"single file",
    "scheduler/other.json": b"{}",
}

Lines = list[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A tiny model whose UNet is in the fp16 variant."""
    folder = tiny_model.write(tmp_path_factory.mktemp("model"))
    shutil.move(folder / "unet/diffusion_pytorch_model.safetensors", folder / UNET)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def server(model: dict[str, bytes]) -> Iterator[Hub]:
    with serving(model | NOT_READ) as server:
        yield server


def fetch(server: Hub, target: Path, model: HubModel = MODEL) -> Lines:
    lines: Lines = []
    hub.fetch(model, target, lines.append, server.url)
    return lines


def files_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def start_command(
    server: Hub, target: Path, model: str, **variables: str
) -> "subprocess.Popen[str]":
    home = str(target.parent / "home")
    return subprocess.Popen(
        [sys.executable, "-m", "easel_worker.fetch", model, "--to", str(target)],
        env=os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": home} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_fetches_only_the_files_that_are_read(
    server: Hub, model: dict[str, bytes], tmp_path: Path
) -> None:
    target = tmp_path / "sdxl"
    lines = fetch(server, target)
    found = files_in(target)
    del found[hub.SOURCE]
    assert found == model
    assert re.fullmatch(rf"{len(model)} files, .* of {REPOSITORY} at {COMMIT}", lines[0])
    assert lines[-1] == f"{target} is complete; all digests match"


def test_the_engine_paints_with_a_fetched_model(server: Hub, tmp_path: Path) -> None:
    fetch(server, tmp_path / "sdxl")
    engine = start(tmp_path / "sdxl")
    lane = engine.start(tiny_model.spec(steps=1))
    engine.step([lane])
    assert np.ptp(engine.finish(lane)) > 0


def test_a_branch_is_resolved_to_a_commit_before_fetching(server: Hub, tmp_path: Path) -> None:
    fetch(server, tmp_path / "sdxl", HubModel(REPOSITORY, BRANCH))
    contents = [path for path in server.asked if "/resolve/" in path]
    assert contents
    assert all(f"/resolve/{COMMIT}/" in path for path in contents)


def test_reports_the_commit_of_a_branch(server: Hub, tmp_path: Path) -> None:
    lines = fetch(server, tmp_path / "sdxl", HubModel(REPOSITORY, BRANCH))
    assert lines[1] == f"use {REPOSITORY}@{COMMIT} to pin this version; {BRANCH} can move"


@pytest.mark.parametrize("revision", [BRANCH, COMMIT])
def test_an_existing_folder_needs_no_hub(server: Hub, tmp_path: Path, revision: str) -> None:
    target = tmp_path / "sdxl"
    fetch(server, target, HubModel(REPOSITORY, BRANCH))
    server.asked.clear()
    lines = fetch(server, target, HubModel(REPOSITORY, revision))
    assert lines == [f"{target} exists, {REPOSITORY} at {COMMIT}"]
    assert server.asked == []


def test_a_full_disk_is_detected_before_downloading(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(HubError, match=f"the disk of {tmp_path} has 0.00 GB free"):
        fetch(server, tmp_path / "sdxl")
    assert not any("/resolve/" in path for path in server.asked)


@pytest.mark.parametrize("other", [HubModel(REPOSITORY, "v2"), HubModel("owner/other", COMMIT)])
def test_a_folder_with_another_model_is_refused(
    server: Hub, tmp_path: Path, other: HubModel
) -> None:
    fetch(server, tmp_path / "sdxl")
    with pytest.raises(HubError, match="choose another folder, or remove it"):
        fetch(server, tmp_path / "sdxl", other)


def test_a_folder_made_by_hand_is_accepted(server: Hub, tmp_path: Path) -> None:
    (tmp_path / "sdxl").mkdir()
    fetch(server, tmp_path / "sdxl")
    assert server.asked == []


def test_resumes_after_a_broken_connection(server: Hub, tmp_path: Path) -> None:
    content = bytes(range(256)) * (CHUNK // 256 + 1)
    server.files = {**server.files, UNET: content}
    server.cuts[UNET] = CHUNK + 7
    fetch(server, tmp_path / "sdxl")
    assert (tmp_path / "sdxl" / UNET).read_bytes() == content
    assert f"/{REPOSITORY}/resolve/{COMMIT}/{UNET} bytes={CHUNK}-" in server.asked


def test_resumes_after_a_killed_process(server: Hub, tmp_path: Path) -> None:
    target, name = tmp_path / "sdxl", f"{REPOSITORY}@{COMMIT}"
    content = bytes(range(256)) * (CHUNK // 256 + 1)
    server.files = {**server.files, UNET: content}
    server.stalls[UNET] = CHUNK + 7
    first = start_command(server, target, name)
    partial = tmp_path / "sdxl.partial" / UNET
    while not (partial.exists() and partial.stat().st_size == CHUNK):
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    first.kill()
    first.communicate()
    assert not target.exists()
    server.stalls.clear()
    server.asked.clear()
    second = start_command(server, target, name)
    output, _ = second.communicate()
    assert second.returncode == 0, output
    assert f"{UNET}: 10.5 of 10.5 MB" in output
    assert (target / UNET).read_bytes() == content
    assert [path for path in server.asked if "/resolve/" in path] == [
        f"/{REPOSITORY}/resolve/{COMMIT}/{UNET} bytes={CHUNK}-",
        *[path for path in server.asked if "/resolve/" in path and "vae" in path],
    ]


def test_a_file_with_a_wrong_digest_is_removed(
    server: Hub, model: dict[str, bytes], tmp_path: Path
) -> None:
    server.lies[UNET] = bytes(len(model[UNET]))
    with pytest.raises(HubError, match=f"{UNET}: does not match the digest"):
        fetch(server, tmp_path / "sdxl")
    assert not (tmp_path / "sdxl").exists()
    server.lies.clear()
    fetch(server, tmp_path / "sdxl")
    assert (tmp_path / "sdxl" / UNET).read_bytes() == model[UNET]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"owner/other@{COMMIT}", r"http://\S+ has no public model owner/other: .*HF_TOKEN.*"),
        ("owner/other", r"http://\S+ has no public model owner/other: .*HF_TOKEN.*"),
        (
            "model",
            r"'model' is not a model on the hub: write org/name or org/name/file.safetensors.*",
        ),
        ("../models/demo", r"'../models/demo' is not a model on the hub: .*"),
    ],
)
def test_failures_are_reported_in_one_line(
    server: Hub, tmp_path: Path, name: str, expected: str
) -> None:
    command = start_command(server, tmp_path / "sdxl", name)
    output, _ = command.communicate()
    assert command.returncode == 1
    assert re.fullmatch(f"easel-fetch: {expected}\n", output), output


def test_the_default_revision_is_main(server: Hub, tmp_path: Path) -> None:
    command = start_command(server, tmp_path / "sdxl", REPOSITORY)
    output, _ = command.communicate()
    assert command.returncode == 0, output
    assert f"of {REPOSITORY} at {COMMIT}\n" in output
    assert HubModel.parse(REPOSITORY) == HubModel(REPOSITORY, BRANCH)


@pytest.mark.parametrize(
    ("offline", "reason"), [("0", "Connection refused"), ("1", "HF_HUB_OFFLINE is set")]
)
def test_an_unreachable_hub(tmp_path: Path, offline: str, reason: str) -> None:
    with serving({}) as server:
        pass  # the port is now closed
    command = start_command(server, tmp_path / "sdxl", REPOSITORY, HF_HUB_OFFLINE=offline)
    output, _ = command.communicate()
    assert command.returncode == 1
    assert output.startswith(f"easel-fetch: cannot reach {server.url} ({reason}): ")
    assert f"`python -m easel_worker.fetch {REPOSITORY}@{BRANCH} --to FOLDER`" in output
    assert output.count("\n") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_reported(tmp_path: Path, number: int) -> None:
    text = explain(OSError(number, os.strerror(number)), MODEL, tmp_path / "sdxl")
    assert text.startswith(f"the disk of {tmp_path} is full: ")


SHARDS = [f"unet/diffusion_pytorch_model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
OTHERS = [f"{part}/model.safetensors" for part in ("text_encoder", "text_encoder_2", "vae")]


@pytest.mark.parametrize(
    "index",
    [
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        "unet/diffusion_pytorch_model.fp16.safetensors.index.json",
    ],
)
def test_shards_are_fetched_with_their_index(index: str) -> None:
    full = ["unet/diffusion_pytorch_model.safetensors.index.json", "unet/config.json"]
    wanted = [index, *SHARDS, *OTHERS]
    found = hub_files.weights_files([*full, *SHARDS, *OTHERS, index], None)
    assert sorted(found) == sorted(wanted)


def test_the_first_text_encoder_may_be_absent() -> None:
    """As in SDXL's refiner. Without its weights, where its config is, it is refused."""
    unet = "unet/diffusion_pytorch_model.safetensors"
    second = [unet, *OTHERS[1:]]
    assert sorted(hub_files.weights_files(second, None)) == sorted(second)
    with pytest.raises(HubError, match="no weights of its text_encoder"):
        hub_files.weights_files([*second, "text_encoder/config.json"], None)


def test_a_component_without_weights_is_refused() -> None:
    with pytest.raises(HubError, match=r"no weights of its unet.*model\.bin, which can run code"):
        hub_files.weights_files([*OTHERS, "unet/diffusion_pytorch_model.bin"], None)


@pytest.mark.parametrize(
    ("variants", "chosen"),
    [
        (["", "fp16", "bf16"], "fp16"),
        (["", "bf16"], "bf16"),
        (["fp32", "", "non_ema"], ""),
        (["fp32"], "fp32"),
    ],
)
def test_half_precision_is_preferred(variants: list[str], chosen: str) -> None:
    names = {
        v: f"unet/diffusion_pytorch_model.{v}.safetensors".replace("..", ".") for v in variants
    }
    found = hub_files.weights_files([*names.values(), *OTHERS], None)
    assert [path for path in found if path.startswith("unet/")] == [names[chosen]]


def test_other_variants_are_named() -> None:
    name = "diffusion_pytorch_model.non_ema.safetensors"
    with pytest.raises(HubError, match=f"weights of its unet to fetch: found {name}; expected"):
        hub_files.weights_files([*OTHERS, f"unet/{name}"], None)


def test_a_repository_without_a_diffusers_folder_names_its_files(tmp_path: Path) -> None:
    with (
        serving({"b.safetensors": b"", "a.safetensors": b"", "c.ckpt": b""}) as server,
        pytest.raises(HubError, match=r"add its name: a\.safetensors, b\.safetensors$"),
    ):
        fetch(server, tmp_path / "sdxl")


def test_no_weights_are_downloaded_of_a_model_that_is_refused(
    server: Hub, model: dict[str, bytes], tmp_path: Path
) -> None:
    config = model["unet/config.json"].replace(b'"act_fn"', b'"unused"')
    config = config[:-1] + b', "act_fn": "mish"}'
    server.files = {**server.files, "unet/config.json": config}
    with pytest.raises(ValueError, match=r'unet/config\.json: act_fn = "mish"'):
        fetch(server, tmp_path / "sdxl")
    assert not any(path.endswith(".safetensors") for path in server.asked)


def single_file(model: dict[str, bytes]) -> bytes:
    """The tiny model as a single file."""
    parts = {
        part: load(next(content for path, content in model.items() if is_weights(part, path)))
        for part in ("text_encoder", "text_encoder_2", "unet", "vae")
    }
    return save(original_layout.single_file(parts))


def is_weights(part: str, path: str) -> bool:
    return path.startswith(f"{part}/") and path.endswith(".safetensors")


@pytest.mark.parametrize("path", ["tiny.safetensors", "more/tiny v1.safetensors"])
def test_a_single_file_is_fetched_alone(
    server: Hub, model: dict[str, bytes], tmp_path: Path, path: str
) -> None:
    content = single_file(model)
    server.files = {**server.files, path: content}
    parsed = HubModel.parse(f"{REPOSITORY}/{path}@{COMMIT}")
    assert parsed == HubModel(REPOSITORY, COMMIT, path)
    lines = fetch(server, tmp_path / "sdxl", parsed)
    found = files_in(tmp_path / "sdxl")
    assert found.keys() == {Path(path).name, hub.SOURCE}
    assert found[Path(path).name] == content
    assert locate(tmp_path / "sdxl").name == Path(path).stem
    assert lines[0].startswith("1 file, ")
    with pytest.raises(HubError, match="choose another folder"):
        fetch(server, tmp_path / "sdxl")


def test_a_single_file_that_is_refused_is_not_downloaded(server: Hub, tmp_path: Path) -> None:
    content = save({"double_blocks.0.weight": np.ones((400, 1000), np.float32)})
    server.files = {**server.files, "flux.safetensors": content}
    with pytest.raises(WeightsError, match=r"owner/model/flux\.safetensors: this is a Flux model"):
        fetch(server, tmp_path / "sdxl", HubModel(REPOSITORY, COMMIT, "flux.safetensors"))
    assert [path for path in server.asked if "flux" in path] == [
        f"/{REPOSITORY}/resolve/{COMMIT}/flux.safetensors bytes=0-100000"
    ]


def test_a_file_that_the_repository_lacks_is_refused(server: Hub, tmp_path: Path) -> None:
    model = HubModel(REPOSITORY, COMMIT, "no.safetensors")
    with pytest.raises(HubError, match=r"has no no\.safetensors; .*: sd_xl_base_1\.0\.safetensors"):
        fetch(server, tmp_path / "sdxl", model)


@pytest.mark.parametrize("alone", [True, False])
def test_one_component_is_fetched_to_replace_another(
    server: Hub, model: dict[str, bytes], tmp_path: Path, alone: bool
) -> None:
    wanted = {path: content for path, content in model.items() if path.startswith("vae/")}
    if alone:
        wanted = {path.removeprefix("vae/"): content for path, content in wanted.items()}
        server.files = {"README.md": b"", **wanted}
    target = tmp_path / "vae"
    hub.fetch(MODEL, target, lambda _: None, server.url, component="vae")
    found = files_in(target)
    del found[hub.SOURCE]
    assert found == wanted
    whole = tiny_model.write(tmp_path / "whole")
    files = locate(whole, vae=target)
    assert files.components["vae"].config.path.is_relative_to(target)


def test_progress_lines_are_at_least_five_seconds_apart() -> None:
    lines, now = Lines(), [0.0]
    bar = ProgressLines(
        lines.append, "file", total=40_000_000, initial=10_000_000, clock=lambda: now[0]
    )
    for now[0] in (1.0, LINE_EVERY_S, LINE_EVERY_S + 1):
        bar.update(10_000_000)
    assert lines == [f"file: {done}.0 of 40.0 MB" for done in (10, 30, 40)]

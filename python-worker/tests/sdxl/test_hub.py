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

from easel_worker.sdxl.folder import hub
from easel_worker.sdxl.folder.fetch_errors import explain
from easel_worker.sdxl.folder.fetch_progress import LINE_EVERY_S, ProgressLines
from easel_worker.sdxl.folder.hub import HubError, HubModel
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from tests.sdxl import tiny_model
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
    engine = SdxlEngine(tmp_path / "sdxl", Options(sizes=(tiny_model.SIZES[0],)))
    engine.warm(lambda _: None)
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
        ("model", r"'model' is not a model on the hub: write org/name or org/name@revision.*"),
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
    wanted = ["unet/config.json", index, *SHARDS, *OTHERS]
    assert sorted(hub.choose([*full, *SHARDS, *OTHERS, index])) == sorted(wanted)


def test_a_component_without_weights_is_refused() -> None:
    with pytest.raises(HubError, match="no safetensors weights in unet"):
        hub.choose([*OTHERS, "unet/diffusion_pytorch_model.bin"])


def test_progress_lines_are_at_least_five_seconds_apart() -> None:
    lines, now = Lines(), [0.0]
    bar = ProgressLines(
        lines.append, "file", total=40_000_000, initial=10_000_000, clock=lambda: now[0]
    )
    for now[0] in (1.0, LINE_EVERY_S, LINE_EVERY_S + 1):
        bar.update(10_000_000)
    assert lines == [f"file: {done}.0 of 40.0 MB" for done in (10, 30, 40)]

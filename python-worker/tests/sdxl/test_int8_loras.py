"""LoRAs with QUANTIZATION=int8: as if the model on the disk had them, wherever its source is."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from easel_worker.engine import DeviceMemory, LoraUse, Pixels
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.model import Dtypes
from easel_worker.sdxl.lora.targets import TEXT, TEXT_2, UNET, declarations
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import selection
from easel_worker.sdxl.quantization.source import Source
from easel_worker.sdxl.serving import engine as serving_engine
from easel_worker.sdxl.serving import lora_memory
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.lora_memory import LoraMemoryError, find_place, lora_bytes
from easel_worker.sdxl.serving.options import Options
from parity.loras.files import ALL, ATTENTION, CONVOLUTIONS, LINEARS, NORMS, LoraFile
from tests.sdxl.engines import Report, ahead, lowered, start
from tests.sdxl.test_lora_serving import counted_compilations
from tests.sdxl.tiny_loras import write_with_loras
from tests.sdxl.tiny_model import LENGTH, spec

OTHERS = r"time_emb_proj|conv_shortcut|linear_[12]|text_projection"
FILES = (
    LoraFile("lora", layers=ATTENTION, alpha=2.0),
    LoraFile("all", "peft", layers=LINEARS),
    LoraFile("locon", layers=CONVOLUTIONS),
    LoraFile("dora", form="dora", layers=ALL),
    LoraFile("loha", form="loha", layers=ALL),
    LoraFile("full", form="full", layers=LINEARS),
    LoraFile("biased", form="full-biased", layers=r".*\bresnets\.0\.conv[12]"),
    LoraFile("norms", form="norm", layers=NORMS),
    LoraFile("every", "peft", layers=rf"{LINEARS}|.*\b({OTHERS})"),
    LoraFile("queries", "peft", layers=r".*\battn1\.to_q"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_with_loras(tmp_path_factory.mktemp("model"), FILES)


def serve(folder: Path, **options: Any) -> SdxlEngine:
    return start(folder, **({"quantization": "int8", "loras": folder / "loras"} | options))


def uses(engine: SdxlEngine, *names: str, weight: float = 0.8) -> tuple[LoraUse, ...]:
    digests = {lora.name: lora.digest for lora in engine.capabilities.loras}
    return tuple(LoraUse(name, digests[name], weight, weight) for name in names)


def picture(engine: SdxlEngine, loras: Sequence[LoraUse] = ()) -> Pixels:
    lane = engine.start(spec(loras=tuple(loras)))
    while lane.step < lane.spec.steps:
        engine.step([lane])
    return engine.finish(lane)


def fused(folder: Path, to: Path, engine: SdxlEngine, loras: Sequence[LoraUse]) -> Path:
    """The model with LoRAs fused into its files, by an engine without int8."""
    shutil.copytree(folder, to)
    unet, text = engine.adapters.unet(loras).params, engine.adapters.text(loras)
    trees = declarations(load_config(folder))
    files = {UNET: "diffusion_pytorch_model", TEXT: "model", TEXT_2: "model"}
    for part, tree in ((UNET, unet), (TEXT, text.first), (TEXT_2, text.second)):
        pairs = zip(declared(trees[part]), jax.tree.leaves(tree), strict=True)
        tensors = {
            param.name: np.ascontiguousarray(
                param.layout.restore(np.asarray(leaf).astype(np.float32), param.stored)
            )
            for param, leaf in pairs
        }
        save_file(tensors, to / part / f"{files[part]}.safetensors")
    return to


SETS = [
    *([file.name] for file in FILES),
    ["all", "lora"],
    ["locon", "loha", "queries"],
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_image_has_the_bytes_of_the_model_with_the_loras_in_its_files(
    folder: Path, tmp_path: Path, dtype: str
) -> None:
    """The same calibration, and the whole way from the files: read, quantised, served."""
    engine, plain = serve(folder, dtype=dtype), serve(folder, dtype=dtype, quantization="none")
    without = picture(engine)
    for names in SETS if dtype == "float32" else SETS[-2:]:
        loras = uses(engine, *names)
        to = fused(folder, tmp_path / "-".join(names), plain, loras)
        wanted = picture(start(to, quantization="int8", dtype=dtype))
        found = picture(engine, loras)
        assert np.array_equal(found, wanted), names
        assert not np.array_equal(found, without), names
        assert np.array_equal(picture(engine), without)


def test_without_loras_nothing_changes_and_nothing_is_kept(folder: Path) -> None:
    engine, without = serve(folder), start(folder, quantization="int8")
    assert np.array_equal(picture(engine), picture(without))
    assert engine.capabilities.model == without.capabilities.model
    assert engine.adapters.source is not None
    assert without.adapters.source is None


def test_a_copy_shares_the_groups_that_no_lora_changes(folder: Path) -> None:
    engine = serve(folder)
    own = engine.adapters.unet(()).params
    copy = engine.adapters.unet(uses(engine, "queries")).params
    assert jax.tree.structure(copy) == jax.tree.structure(own)
    shared = {id(leaf) for leaf in jax.tree.leaves(own)}
    block = copy.mid.attentions[0].blocks[0]
    for layer in (block.attn1.to_q, block.attn1.to_k, block.attn1.to_v):
        assert id(layer.int8) not in shared
    for layer in (block.attn1.to_out, block.attn2.to_q, block.ff_in, block.ff_out):
        assert {id(leaf) for leaf in jax.tree.leaves(layer)} <= shared
    changed, same = engine.adapters.unet(uses(engine, "locon")).params.mid.resnets
    assert {id(changed.conv1.int8), id(changed.conv2.int8)}.isdisjoint(shared)
    assert {id(leaf) for leaf in jax.tree.leaves(same)} <= shared


def full_but(free: int) -> DeviceMemory:
    return DeviceMemory(0, 10**12 - free, 10**12)


def source_of(folder: Path) -> Source:
    source = serve(folder).adapters.source
    assert source is not None
    return source


def on_host(source: Source) -> list[bool]:
    groups = selection.shared_inputs(source.unet)
    return [isinstance(layer.weight, np.ndarray) for group in groups for layer in group]


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 1000))
def test_the_source_moves_only_where_that_makes_room(
    needed: int, free: int, other: int, size: int
) -> None:
    """With two devices the one with less room decides."""

    class Weights:
        moved = False
        nbytes = size

        def move_to_host(self) -> None:
            self.moved = True

        def release(self) -> None:
            self.nbytes = 0

    weights, said = Weights(), list[str]()
    memory = [full_but(free), full_but(free + other)]
    try:
        find_place(weights, needed, memory, said.append)  # type: ignore[arg-type]
    except LoraMemoryError:
        assert needed > free + size
        assert (weights.moved, weights.nbytes) == (False, 0)
    else:
        assert needed <= free + size
        assert weights.nbytes == size
        assert weights.moved == (needed > free) == bool(said)


def test_programs_are_the_same_with_and_without_loras(folder: Path) -> None:
    """So what `easel-compile` made fits both."""
    without, having = (
        lowered(folder, quantization="int8", loras=loras) for loras in (None, folder / "loras")
    )
    assert without == having


def test_a_worker_without_room_offers_no_loras_and_keeps_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SdxlEngine, "memory", lambda _: (full_but(0),))
    said: list[str] = []
    given = {"quantization": "int8", "loras": folder / "loras", "image_inputs": False}
    options = Options(devices=jax.devices()[:1], sizes=[], max_prompt_chunks=1, **given)
    engine = SdxlEngine(folder, replace(options, compile_behind=True), compiler=ahead())
    engine.warm(said.append)
    while engine.capabilities.coming_features:
        time.sleep(0.01)
    assert [line for line in said if line.startswith("loras is not offered: LORAS with QUANT")]
    assert "loras" not in engine.capabilities.features
    source = engine.adapters.source
    assert source is not None
    assert released(source)
    assert picture(engine).any()


def released(source: Source) -> bool:
    groups = selection.shared_inputs(source.unet)
    weights = [layer.weight for group in groups for layer in group]
    return all(isinstance(weight, jax.ShapeDtypeStruct) for weight in weights)


def test_the_refusal_says_what_to_do(folder: Path) -> None:
    source = source_of(folder)
    wrong = r"LORAS .* needs 8\.0 GiB .* 2\.0 GiB can be made free: lower LORA_SETS or ROWS, or "
    with pytest.raises(LoraMemoryError, match=wrong):
        find_place(source, 2**33, [full_but(2**31)], pytest.fail)
    assert released(source)


def test_a_source_in_the_hosts_memory_makes_the_same_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = serve(folder, lora_sets=2)
    sets = [uses(engine, *names) for names in SETS]
    wanted = [picture(engine, loras) for loras in sets]

    needs: list[int] = []

    def too_full(source: Source, needed: int, memory: object, report: Report) -> None:
        assert memory == (full_but(1),)
        needs.append(needed)
        find_place(source, needed, [full_but(needed - 1)], report)

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(SdxlEngine, "memory", lambda _: (full_but(1),))
        patch.setattr(serving_engine, "find_place", too_full)
        moved = serve(folder, lora_sets=2, rows=6, compiler=ahead(), report=said.append)
    copies = 2 * lora_bytes(load_config(folder), Dtypes(np.float32, np.float32, int8=True)).copy
    lanes = 3 * 2 * 4 * 2 * LENGTH * 16 * 4  # of three images the keys and values, and more
    assert lanes < needs[0] - copies - lora_memory.MERGING < 20 * lanes
    assert any("move to the host's memory" in line for line in said)
    source = moved.adapters.source
    assert source is not None
    assert all(on_host(source))
    with counted_compilations() as compiled:
        found = [picture(moved, loras) for loras in sets]
    assert compiled == []
    assert all(np.array_equal(one, two) for one, two in zip(found, wanted, strict=True))


def test_counts_what_loras_need(folder: Path) -> None:
    """The sizes of what is really kept and copied."""
    engine = serve(folder)
    config = load_config(folder)
    adapters = engine.adapters
    source = adapters.source
    assert source is not None
    wide = Dtypes(np.float32, np.float32)
    assert lora_bytes(config, wide).source == 0
    counted = lora_bytes(config, Dtypes(np.float32, np.float32, int8=True))
    assert counted.source == source.nbytes == 4 * rounded(config.unet)

    loras = uses(engine, "every")
    own = {id(leaf) for leaf in jax.tree.leaves((adapters.unet(()).params, adapters.text(())))}
    copies = jax.tree.leaves((adapters.unet(loras).params, adapters.text(loras)))
    copied = sum(leaf.nbytes for leaf in copies if id(leaf) not in own and leaf.ndim > 1)
    assert copied == counted.copy


def rounded(config: object) -> int:
    groups = selection.shared_inputs(UNet.declare(config))  # type: ignore[arg-type]
    return sum(layer.weight.size for group in groups for layer in group)

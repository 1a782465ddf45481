"""Images with LoRAs: bytes, compilations and memory, and what happens when files change."""

import gc
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from easel_worker.engine import ImageSpec, InvalidRequest, LoraUse, Pixels
from easel_worker.sdxl.samplers.sampler import needs_older, offered
from easel_worker.sdxl.serving import adapters, shelves
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from easel_worker.specs import check
from parity.loras.files import ATTENTION, UNET_ATTENTION, LoraFile
from parity.pipeline.cases import SDXL_SCHEDULER
from tests.sdxl.tiny_loras import write_with_loras
from tests.sdxl.tiny_model import SIZES, spec, tokens
from tests.support.company import Company, Repertoire

FILES = (
    LoraFile("ink", layers=ATTENTION, alpha=2.0),
    LoraFile("oil", form="loha", layers=UNET_ATTENTION),
    LoraFile("words", "peft", layers=r".*\b([qkv]_proj)"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_with_loras(tmp_path_factory.mktemp("model"), FILES)


@pytest.fixture(scope="module", params=["none", "int8"])
def engine(folder: Path, request: pytest.FixtureRequest) -> SdxlEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves, "SCAN_EVERY_S", 0.05)
        return warm(folder, quantization=request.param)


def warm(folder: Path, **options: object) -> SdxlEngine:
    own: dict[str, object] = {"sizes": [], "rows": 5, "max_prompt_chunks": 1}
    given = own | {"loras": folder / "loras", "devices": jax.devices()[:1]} | options
    engine = SdxlEngine(folder, Options(**given))  # type: ignore[arg-type]
    engine.warm(lambda _: None)
    return engine


def use(engine: SdxlEngine, name: str, unet: float = 1.0, text: float = 1.0) -> LoraUse:
    [lora] = [lora for lora in engine.capabilities.loras if lora.name == name]
    return LoraUse(name, lora.digest, unet, text)


def picture(engine: SdxlEngine, wanted: ImageSpec) -> Pixels:
    check(wanted, engine.capabilities)
    lane = engine.start(wanted)
    while lane.step < wanted.steps:
        engine.step([lane])
    return engine.finish(lane)


@contextmanager
def counted_compilations() -> Iterator[list[str]]:
    seen: list[str] = []

    def listen(event: str, _: float, **__: str | int) -> None:
        if "backend_compile" in event:
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_the_folder_is_offered(engine: SdxlEngine) -> None:
    now = engine.capabilities
    assert [(lora.name, lora.kind, lora.parts) for lora in now.loras] == [
        ("ink", "lora", ("unet", "text_encoder", "text_encoder_2")),
        ("oil", "loha", ("unet",)),
        ("words", "lora", ("text_encoder", "text_encoder_2")),
    ]
    assert "loras" in now.features
    assert (now.limits.max_loras, engine.adapter_sets) == (8, 1)


def test_any_lora_changes_the_image_and_nothing_is_compiled(engine: SdxlEngine) -> None:
    ink, oil, words = (use(engine, name) for name in ("ink", "oil", "words"))
    sets: Sequence[tuple[LoraUse, ...]] = [
        (ink,),
        (oil,),
        (words,),
        (ink, oil),
        (replace(ink, unet_weight=-1.0),),
        (replace(ink, text_weight=0.0),),
        (replace(ink, unet_weight=0.0),),
    ]
    with counted_compilations() as compiled:
        images = [picture(engine, spec()), *(picture(engine, spec(loras=each)) for each in sets)]
        again = [picture(engine, spec(loras=each)) for each in sets]
        turned = picture(engine, spec(loras=(oil, ink)))
    assert compiled == []
    assert len({image.tobytes() for image in images}) == len(images)
    assert all(np.array_equal(one, two) for one, two in zip(images[1:], again, strict=True))
    assert np.array_equal(turned, images[4]), "the order has no meaning"
    none = replace(ink, unet_weight=0.0, text_weight=0.0)
    assert np.array_equal(picture(engine, spec(loras=(none,))), images[0])


def test_images_of_any_loras_have_the_bytes_that_they_have_alone(engine: SdxlEngine) -> None:
    ink, oil, words = (use(engine, name, 0.8, 0.7) for name in ("ink", "oil", "words"))
    repertoire = Repertoire(
        prompts=[tokens(text) for text in ("", "a red circle")],
        sizes=SIZES[:1],
        schedulers=tuple(n for n in offered(SDXL_SCHEDULER) if not needs_older(n))[:4],
        savings=(
            {},
            {"loras": (ink,)},
            {"loras": (oil,)},
            {"loras": (oil, ink)},
            {"loras": (words,)},
        ),
        kinds=30,
    )
    company = Company(engine, repertoire)
    with counted_compilations() as compiled:
        for seed in range(5000, 5024):
            company.play(seed)
    assert company.tally.wrong == []
    assert company.tally.images > 60
    assert compiled == []


def test_memory_is_flat_over_a_thousand_switches(engine: SdxlEngine) -> None:
    """Half of them are merged on the device, the others on the host."""
    adapters = engine.adapters
    both = use(engine, "ink"), use(engine, "oil")

    def switched(times: int) -> int:
        for turn in range(times):
            adapters.unet((replace(both[turn % 2], unet_weight=1.0 + turn % 4),))
        gc.collect()
        return sum(array.nbytes for array in jax.live_arrays())

    before = switched(4)
    assert switched(1000) == before


def prepared(
    engine: SdxlEngine, wanted: ImageSpec, called: threading.Semaphore | None = None
) -> int:
    """Wait until an image can start; returns how often the engine called back."""
    called = called or threading.Semaphore(0)
    calls = 0
    while not engine.prepare(wanted, called.release):
        assert called.acquire(timeout=60)
        calls += 1
    return calls


def test_merging_ahead_gives_the_same_bytes(engine: SdxlEngine) -> None:
    ink, oil = use(engine, "ink"), use(engine, "oil")
    both = spec(loras=(ink, oil))
    wanted = picture(engine, both)
    picture(engine, spec(loras=(ink,)))
    with counted_compilations() as compiled:
        # A plain image can start while a copy is made, and while another image waits for its own.
        called = threading.Semaphore(0)
        assert not engine.prepare(both, called.release)
        assert engine.prepare(spec(), pytest.fail)
        assert prepared(engine, both, called) <= 2  # the UNet and the text encoders
        assert np.array_equal(picture(engine, both), wanted)
        assert engine.prepare(both, pytest.fail)
    assert compiled == []


def test_copies_are_counted_however_they_were_made(engine: SdxlEngine) -> None:
    ink, oil = use(engine, "ink", 0.45, 0.45), use(engine, "oil", 0.45, 0.45)
    picture(engine, spec(loras=(ink,)))
    before = engine.merges()
    prepared(engine, spec(loras=(oil,)))
    after = engine.merges()
    assert before is not None
    assert after is not None
    assert (after.held, after.total) == (1, before.total + 2)  # the UNet and the text encoders
    assert after.seconds > before.seconds
    picture(engine, spec(loras=(oil,)))
    assert engine.merges() == after
    picture(engine, spec(loras=(ink,)))
    last = engine.merges()
    assert last is not None
    assert (last.held, last.total) == (1, after.total + 1)  # its prompt is remembered


def test_the_text_encoders_are_not_merged_for_prompts_that_are_remembered(
    engine: SdxlEngine,
) -> None:
    ink, oil = use(engine, "ink", 0.55, 0.55), use(engine, "oil", 0.55, 0.55)
    first, second = (spec(loras=(lora,)) for lora in (ink, oil))
    merged = []
    for wanted in (first, second, first, second, replace(second, seed=2)):
        before = engine.merges()
        assert before is not None
        prepared(engine, wanted)
        picture(engine, wanted)
        after = engine.merges()
        assert after is not None
        merged.append(after.total - before.total)
    # The UNet and the text encoders, and later the UNet alone.
    assert merged == [2, 2, 1, 1, 0]


def test_the_place_of_a_cancelled_image_is_given_to_the_next(engine: SdxlEngine) -> None:
    first, second = (spec(loras=(use(engine, name, 0.3),)) for name in ("oil", "ink"))
    called = threading.Semaphore(0)
    assert not engine.prepare(first, called.release)
    prepared(engine, second, called)
    made = picture(engine, second)
    picture(engine, first)
    assert np.array_equal(picture(engine, second), made)


def test_what_made_merging_fail_is_raised_at_the_start(
    engine: SdxlEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = spec(loras=(use(engine, "oil", 0.35),))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(adapters, "merge", fail)
        assert prepared(engine, wanted) == 1
    with pytest.raises(MemoryError, match="no room"):
        engine.start(wanted)
    assert prepared(engine, wanted) >= 1
    engine.start(wanted)


def test_a_copy_in_use_is_not_dropped(engine: SdxlEngine) -> None:
    lane = engine.start(spec(loras=(use(engine, "ink"),)))
    with pytest.raises(RuntimeError, match="all copies of the weights are in use"):
        engine.start(spec(loras=(use(engine, "oil"),)))
    engine.step([lane])
    del lane
    engine.start(spec(loras=(use(engine, "oil"),)))


def test_lanes_of_different_loras_cannot_share_a_step(folder: Path) -> None:
    engine = warm(folder, lora_sets=2)
    ink, oil = (engine.start(spec(loras=(use(engine, name),))) for name in ("ink", "oil"))
    with pytest.raises(ValueError, match="cannot share a step"):
        engine.step([ink, oil])


def test_the_engine_follows_its_folder(engine: SdxlEngine, folder: Path) -> None:
    def wait(*names: str) -> None:
        while [lora.name for lora in engine.capabilities.loras] != list(names):
            time.sleep(0.01)

    ink = use(engine, "ink", 0.25)
    path = folder / "loras" / "ink.safetensors"
    before = path.read_bytes()
    path.write_bytes(before + b"x")
    with pytest.raises(InvalidRequest, match=r"the LoRA ink .* is not here any more"):
        engine.start(spec(loras=(ink,)))
    wait("oil", "words")
    path.write_bytes(before)
    wait("ink", "oil", "words")
    engine.start(spec(loras=(ink,)))


def test_several_devices_make_the_same_image(engine: SdxlEngine, folder: Path) -> None:
    wanted = spec(loras=(use(engine, "ink"), use(engine, "oil", 0.5)))
    int8 = engine.capabilities.model.dtype.endswith("int8")
    two = warm(folder, devices=jax.devices()[:2], quantization="int8" if int8 else "none")
    assert np.array_equal(picture(two, wanted), picture(engine, wanted))


def test_without_a_folder_there_is_no_feature(folder: Path) -> None:
    engine = SdxlEngine(folder, Options(devices=jax.devices()[:1]))
    assert "loras" not in engine.capabilities.features
    assert (engine.capabilities.limits.max_loras, engine.adapter_sets) == (0, 0)

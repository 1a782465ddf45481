"""The SDXL engine on the smallest model."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from easel_worker.engine import Engine, ImageSpec, Pixels
from easel_worker.sdxl.samplers.sampler import needs_older, offered, second_order
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity.pipeline.cases import SDXL_SCHEDULER
from tests.sdxl.engines import ahead, start
from tests.sdxl.tiny_model import SIZES, spec, tokens, write

COMPILED = "/jax/core/compile/backend_compile_duration"
TRACED = "/jax/core/compile/jaxpr_trace_duration"

REPORTS: list[str] = []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> SdxlEngine:
    return start(folder, ahead(REPORTS.append), sizes=None)


@pytest.fixture(scope="module")
def engine_of_four(folder: Path) -> SdxlEngine:
    """On four fake devices; see conftest."""
    return start(folder, devices=jax.devices()[:4])


def make(engine: Engine, wanted: ImageSpec) -> Pixels:
    """Make a single image."""
    lane = engine.start(wanted)
    for _ in range(wanted.steps):
        engine.step([lane])
    return engine.finish(lane)


def mixed_specs(width: int, height: int) -> list[ImageSpec]:
    """Specs that differ in everything that may share a step."""
    size = {"width": width, "height": height}
    return [
        spec("a red circle", seed=1, **size),
        spec("a red circle", seed=2, steps=3, scheduler="euler_ancestral", **size),
        spec("a blue square", guidance=1.0, steps=5, scheduler="dpmpp_2m", **size),
        spec("green", negative=tokens("blurry"), guidance=9.0, scheduler="ddim", **size),
        spec("white", guidance=0.0, steps=1, **size),
        spec("white", clip_skip=1, steps=2, scheduler="dpmpp_2m_karras", **size),
        spec("a red circle", seed=3, guidance_start=0.25, guidance_end=0.75, **size),
    ]


def in_company(engine: Engine, specs: list[ImageSpec], schedule: random.Random) -> list[Pixels]:
    """Make all images together: they start at random times, and each step takes some of them."""
    waiting, running, images = dict(enumerate(specs)), {}, {}
    while waiting or running:
        for number in [n for n in waiting if schedule.random() < 0.5]:
            running[number] = engine.start(waiting.pop(number))
        stepping = [n for n in running if schedule.random() < 0.7][:4]
        schedule.shuffle(stepping)
        engine.step([running[n] for n in stepping])
        for number in [n for n in running if running[n].step == running[n].spec.steps]:
            images[number] = engine.finish(running.pop(number))
    return [images[number] for number in range(len(specs))]


@contextmanager
def counted_compilations() -> Iterator[list[str]]:
    """Collect what jax traces or compiles while the context is open."""
    seen: list[str] = []

    def listen(event: str, _: float, **about: Any) -> None:
        if event in {COMPILED, TRACED}:
            seen.append(f"{event} {about}")

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


OF_A_SIZE = ("begin {}", "denoise {} guided x1", "denoise {} unguided x1", "decode {}")


def test_capabilities_are_complete_after_warm(engine: SdxlEngine) -> None:
    can = engine.capabilities
    assert can.sizes == SIZES
    assert can.rows == 32
    assert len(can.model.digest) == 64
    assert can.schedulers == tuple(n for n in offered(SDXL_SCHEDULER) if not needs_older(n))
    assert can.second_order == second_order(can.schedulers)
    names = [program.name for program in can.programs]
    assert names == [
        *("encode", "project x2", "project x1"),
        *(name.format("16x8") for name in OF_A_SIZE),
        "encode masked",
        *(name.format("8x8") for name in OF_A_SIZE),
    ]
    assert all(f"compiled {name} in" in "\n".join(REPORTS) for name in names)


def test_a_prompt_is_encoded_once_for_each_clip_skip(
    engine: SdxlEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = engine._warm_runner._programs
    encoded, encode = [], programs.encode

    def counted(*arguments: Any) -> Any:
        encoded.append(arguments)
        return encode(*arguments)

    monkeypatch.setattr(type(programs), "encode", property(lambda _: counted))
    for changes in ({"seed": 1}, {"seed": 2}, {"clip_skip": 1}, {"steps": 3}):
        engine.start(spec("told once", **changes))
    assert len(encoded) == 2


def test_an_image_has_its_size_and_is_not_flat(engine: SdxlEngine) -> None:
    image = make(engine, spec())
    assert image.shape == (8, 16, 3)
    assert image.dtype == np.uint8
    assert image.std() > 10


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"steps": 3},
        {"guidance": 4.0},
        {"guidance": 1.0},
        {"scheduler": "euler_ancestral"},
        {"clip_skip": 1},
        {"guidance_start": 0.25},
        {"guidance_end": 0.75},
        {"prompt": tokens("a blue square")},
        {"negative": tokens("")},
        {"negative": tokens("a blue square")},
    ],
)
def test_everything_in_a_spec_matters(engine: SdxlEngine, change: dict[str, Any]) -> None:
    assert not np.array_equal(make(engine, spec()), make(engine, replace(spec(), **change)))


def test_a_guidance_of_one_or_less_ignores_the_negative_prompt(engine: SdxlEngine) -> None:
    plain = make(engine, spec(guidance=1.0))
    assert np.array_equal(make(engine, spec(guidance=1.0, negative=tokens("blurry"))), plain)
    assert np.array_equal(make(engine, spec(guidance=0.5)), plain)


def test_a_step_outside_the_guidance_interval_uses_the_prompt_alone(engine: SdxlEngine) -> None:
    wanted = spec(steps=6, guidance_start=0.5, guidance_end=0.84, negative=tokens("blurry"))
    assert wanted.guided_steps == range(3, 5)
    # The same from lanes that are of one kind from their first step to their last.
    unguided, guided = replace(wanted, guidance=1.0), replace(wanted, guidance_start=0.0)
    by_hand = engine.start(unguided)
    for step in range(6):
        lane = engine.start(replace(guided, guidance_end=1.0) if step in (3, 4) else unguided)
        lane.state, lane.evaluation = by_hand.state, step
        engine.step([lane])
        by_hand = lane
    assert np.array_equal(make(engine, wanted), engine.finish(by_hand))


def test_an_empty_guidance_interval_makes_an_unguided_image(engine: SdxlEngine) -> None:
    plain = make(engine, spec(guidance=1.0))
    assert np.array_equal(make(engine, spec(guidance_start=0.5, guidance_end=0.5)), plain)
    assert np.array_equal(make(engine, spec(guidance_end=0.0)), plain)


def test_nothing_compiles_after_warm(engine: SdxlEngine) -> None:
    with counted_compilations() as seen:
        for width, height in SIZES:
            specs = mixed_specs(width, height)
            in_company(engine, specs, random.Random(0))
            lane = engine.start(replace(specs[0], seed=99, prompt=tokens("something new")))
            engine.preview(lane)
    assert not seen
    with counted_compilations() as seen:
        jax.jit(lambda x: x + 1)(1.0)
    assert seen  # the counter counts


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_images_do_not_depend_on_other_images(engine: SdxlEngine, width: int, height: int) -> None:
    specs = mixed_specs(width, height)
    alone = [make(engine, each) for each in specs]
    for seed in range(10):
        for ours, expected in zip(
            in_company(engine, specs, random.Random(seed)), alone, strict=True
        ):
            assert np.array_equal(ours, expected)
    assert engine.rows_padded() == 0


def test_four_devices_make_the_same_images(engine: SdxlEngine, engine_of_four: SdxlEngine) -> None:
    specs = mixed_specs(*SIZES[0])
    alone = [make(engine, each) for each in specs]
    assert all(
        np.array_equal(make(engine_of_four, j), a) for j, a in zip(specs, alone, strict=True)
    )
    for seed in range(5):
        together = in_company(engine_of_four, specs, random.Random(seed))
        assert all(np.array_equal(t, a) for t, a in zip(together, alone, strict=True))


def test_eight_devices_in_pairs_make_the_same_images(folder: Path, engine: SdxlEngine) -> None:
    """Four pairs. Each row is computed alone, which may round its sums differently."""
    paired = start(folder, devices=jax.devices()[:8], split_guidance=True)
    guided, unguided = paired.start(spec()), paired.start(spec(guidance=1.0))
    paired.step([guided, unguided])
    assert paired.rows_padded() == 3 * 2 + 7
    specs = mixed_specs(*SIZES[0])
    for wanted, image in zip(specs, in_company(paired, specs, random.Random(0)), strict=True):
        difference = image.astype(int) - make(engine, wanted)
        assert np.abs(difference).max() <= 1


def test_refuses_split_guidance_on_an_odd_number_of_devices(folder: Path) -> None:
    options = Options(devices=jax.devices()[:3], split_guidance=True)
    with pytest.raises(ValueError, match="even number of devices, not 3"):
        resolve.mesh(options)


def test_rows_computed_to_fill_four_devices_are_counted(engine_of_four: SdxlEngine) -> None:
    before = engine_of_four.rows_padded()
    guided, unguided = engine_of_four.start(spec()), engine_of_four.start(spec(guidance=1.0))
    engine_of_four.step([guided])
    assert engine_of_four.rows_padded() - before == 3 * 2
    engine_of_four.step([guided, unguided])
    assert engine_of_four.rows_padded() - before == 3 * 2 + 3 * 2 + 3


def test_larger_batches_make_nearly_the_same_images(folder: Path, engine: SdxlEngine) -> None:
    batched = start(folder, batch_lanes=(1, 3))
    specs = mixed_specs(*SIZES[0])
    for wanted, image in zip(specs, in_company(batched, specs, random.Random(0)), strict=True):
        difference = image.astype(int) - make(engine, wanted)
        assert np.abs(difference).max() <= 1


def test_the_preview_follows_the_predicted_image(engine: SdxlEngine) -> None:
    lane = engine.start(spec())
    pictures = [engine.preview(lane)]
    for _ in range(4):
        engine.step([lane])
        pictures.append(engine.preview(lane))
    assert len({picture.tobytes() for picture in pictures}) == 5
    last = pictures[-1].astype(int) - engine.finish(lane)
    assert np.abs(last).max() <= 1  # no noise is left to take away


def test_given_noise_replaces_the_seeds(engine: SdxlEngine) -> None:
    noise = np.random.default_rng(0).standard_normal((4, 8, 4), dtype=np.float32)
    lanes = [engine.start(spec(seed=seed), noise=noise) for seed in (1, 2)]
    assert np.array_equal(lanes[0].state.sample, lanes[1].state.sample)
    assert np.array_equal(lanes[0].state.sample, noise)  # leading timesteps: scale 1


def test_misuse_raises(engine: SdxlEngine, folder: Path) -> None:
    lane = engine.start(spec(steps=1))
    with pytest.raises(ValueError, match="has steps left"):
        engine.finish(lane)
    small = engine.start(spec(width=8))
    with pytest.raises(ValueError, match="cannot share a step"):
        engine.step([lane, small])
    with pytest.raises(ValueError, match="34 rows in a step that holds 32"):
        engine.step([engine.start(spec()) for _ in range(17)])
    engine.step([lane])
    with pytest.raises(ValueError, match="no steps left"):
        engine.step([lane])
    with pytest.raises(RuntimeError, match="call warm"):
        SdxlEngine(folder).start(spec())


def test_bfloat16_is_near_float32(folder: Path, engine: SdxlEngine) -> None:
    rough = start(folder, dtype="bfloat16")
    assert rough.capabilities.model.dtype == "bfloat16"
    difference = make(rough, spec()).astype(int) - make(engine, spec())
    assert 0 < np.abs(difference).mean() < 8

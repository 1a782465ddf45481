"""Cached steps, on the smallest model."""

import random
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from easel_worker.engine import ImageSpec, Pixels
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.step_plan import PlannedStep
from tests.sdxl.engines import ahead, start
from tests.sdxl.test_engine import counted_compilations, in_company, make
from tests.sdxl.tiny_model import SIZES, spec, tokens, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("caching"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> SdxlEngine:
    return start(folder, ahead(), sizes=None, max_cache_interval=4)


@pytest.fixture(scope="module")
def plain(folder: Path) -> SdxlEngine:
    return start(folder)


def mixed_specs() -> list[ImageSpec]:
    """Specs whose full and cached, guided and unguided steps alternate at different times."""
    return [
        spec("a red circle", seed=1),
        spec("a red circle", seed=1, steps=6, cache_interval=2),
        spec("a blue square", steps=7, cache_interval=3, scheduler="euler_ancestral"),
        spec("a blue square", steps=5, guidance=1.0, cache_interval=4, scheduler="dpmpp_2m"),
        spec("white", steps=8, cache_interval=2, guidance_start=0.25, guidance_end=0.7),
        spec("white", steps=6, cache_interval=4, guidance_end=0.5, negative=tokens("blurry")),
        spec("green", steps=3, guidance_start=0.5),
    ]


def furthest(ours: Pixels, other: Pixels) -> int:
    """The largest difference of any pixel."""
    return int(np.abs(ours.astype(int) - other).max())


def sample(lane: SdxlLane) -> np.ndarray:
    return np.asarray(lane.state.sample)


def test_there_is_a_program_for_each_kind_of_step(engine: SdxlEngine, plain: SdxlEngine) -> None:
    names = [program.name for program in engine.capabilities.programs]
    denoising = [name for name in names if "16x8" in name and name.startswith("denoise")]
    assert denoising == [
        "denoise 16x8 guided x1",
        "denoise 16x8 guided cached x1",
        "denoise 16x8 unguided x1",
        "denoise 16x8 unguided cached x1",
    ]
    assert engine.capabilities.limits.max_cache_interval == 4
    assert not any("cached" in program.name for program in plain.capabilities.programs)


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_the_top_level_over_its_own_deep_feature_equals_a_full_step(
    engine: SdxlEngine, guidance: float
) -> None:
    wanted = spec(guidance=guidance, cache_interval=2)
    whole, top = engine.start(wanted), engine.start(wanted)
    engine.step([whole])
    assert whole.deep is not None
    assert whole.deep.shape == (wanted.rows, 4, 8, 16)
    top.plan = tuple(PlannedStep(step.guided, cached=True) for step in top.plan)
    top.deep = whole.deep
    engine.step([top])
    np.testing.assert_allclose(sample(top), sample(whole), rtol=1e-5, atol=1e-5)


def test_another_deep_feature_makes_another_image(engine: SdxlEngine) -> None:
    wanted = spec(steps=6)
    images = [make(engine, replace(wanted, cache_interval=n)) for n in (1, 2, 3, 4)]
    assert all(furthest(images[0], image) > 0 for image in images[1:])
    assert len({image.tobytes() for image in images}) == 4


def test_full_steps_are_the_same_with_and_without_caching(
    engine: SdxlEngine, plain: SdxlEngine
) -> None:
    for wanted in (spec(), spec(guidance=1.0), spec(guidance_end=0.5)):
        assert furthest(make(engine, wanted), make(plain, wanted)) <= 1


def test_a_deep_feature_is_dropped_once_no_step_needs_it(engine: SdxlEngine) -> None:
    lane = engine.start(spec(steps=5, cache_interval=2, guidance_end=0.6))
    kept = []
    for _ in range(5):
        engine.step([lane])
        kept.append(None if lane.deep is None else lane.deep.shape[0])
    # Whole, cached; whole, and guidance ends; whole, cached.
    assert kept == [2, None, None, 1, None]


def test_images_do_not_depend_on_other_images(engine: SdxlEngine) -> None:
    specs = mixed_specs()
    alone = [make(engine, each) for each in specs]
    for seed in range(10):
        together = in_company(engine, specs, random.Random(seed))
        assert all(np.array_equal(t, a) for t, a in zip(together, alone, strict=True))


def test_nothing_compiles_after_warm(engine: SdxlEngine) -> None:
    with counted_compilations() as seen:
        in_company(engine, mixed_specs(), random.Random(0))
    assert not seen


def test_four_devices_make_the_same_images(folder: Path, engine: SdxlEngine) -> None:
    four = start(folder, devices=jax.devices()[:4], max_cache_interval=4)
    specs = mixed_specs()
    alone = [make(engine, each) for each in specs]
    for seed in range(3):
        together = in_company(four, specs, random.Random(seed))
        assert all(np.array_equal(t, a) for t, a in zip(together, alone, strict=True))


def test_four_devices_in_pairs_make_the_same_images(folder: Path, engine: SdxlEngine) -> None:
    """Each row is computed alone, which may round its sums differently."""
    four = jax.devices()[:4]
    paired = start(folder, devices=four, split_guidance=True, max_cache_interval=4)
    specs = mixed_specs()
    for wanted, image in zip(specs, in_company(paired, specs, random.Random(0)), strict=True):
        assert furthest(image, make(engine, wanted)) <= 1


def test_the_operator_sets_the_limit(engine: SdxlEngine, plain: SdxlEngine) -> None:
    assert engine.capabilities.limits.max_cache_interval == 4
    assert plain.capabilities.limits.max_cache_interval == 1
    with pytest.raises(ValueError, match=r"choose 1 \(off\) or more"):
        Options(max_cache_interval=0)


def test_later_sizes_get_cached_steps_too(engine: SdxlEngine) -> None:
    width, height = SIZES[1]
    image = make(engine, spec(width=width, height=height, cache_interval=2))
    assert image.shape == (height, width, 3)

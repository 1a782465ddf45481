"""Cached steps, on the smallest model."""

import random
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from easel_worker.engine import CACHE_ORDER, ImageSpec, Pixels
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
        spec("green", steps=8, cache_interval=2, cache_order=1),
        spec("green", steps=9, cache_interval=3, cache_order=1, guidance_end=0.5),
        spec("green", steps=9, cache_interval=3, cache_order=1, scheduler="dpmpp_2m"),
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


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_a_forecast_is_the_line_through_the_last_two_features(
    engine: SdxlEngine, guidance: float
) -> None:
    wanted = spec(steps=9, guidance=guidance, cache_interval=3)
    ours, by_hand = engine.start(replace(wanted, cache_order=1)), engine.start(wanted)
    seen: list[tuple[float, np.ndarray]] = []
    for _ in range(9):
        now = float(by_hand.table.timesteps[by_hand.evaluation])
        if by_hand.next.cached and len(seen) > 1:
            (before, older), (last, newer) = seen[-2:]
            ahead = newer + (now - last) / (last - before) * (newer - older)
            by_hand.deep = jax.numpy.asarray(ahead)
        full = not by_hand.next.cached
        engine.step([by_hand])
        engine.step([ours])
        if full and by_hand.deep is not None:
            seen.append((now, np.asarray(by_hand.deep)))
    assert len(seen) == 3
    np.testing.assert_allclose(sample(ours), sample(by_hand), rtol=1e-4, atol=1e-4)
    assert furthest(engine.finish(ours), make(engine, wanted)) > 0


def test_a_forecast_follows_the_timesteps(engine: SdxlEngine) -> None:
    """They are not equally far apart where a request names them."""
    lane = engine.start(spec(steps=5, cache_interval=2, cache_order=1))
    lane.table = replace(lane.table, timesteps=np.float32([900, 800, 600, 500, 100]))
    for _ in range(3):
        assert lane.line is None
        engine.step([lane])
    assert [each.timestep for each in lane.seen] == [900, 600]
    assert lane.line is not None
    assert lane.line.factor == pytest.approx((500 - 600) / (600 - 900))


def test_both_evaluations_of_a_second_order_step_are_on_the_line(engine: SdxlEngine) -> None:
    """The second one is at the next step's timestep."""
    lane = engine.start(spec(steps=6, cache_interval=2, cache_order=1, scheduler="heun"))
    while lane.evaluation < lane.evaluations:
        if lane.next.cached and lane.evaluation:
            before, last = lane.seen
            assert before.timestep > last.timestep
            assert lane.line is not None
            assert lane.line.factor >= 0
        engine.step([lane])
    engine.finish(lane)


def test_without_two_features_alike_the_last_one_is_reused(engine: SdxlEngine) -> None:
    for wanted in (
        spec(steps=4, cache_interval=4),
        spec(steps=4),
        spec(steps=6, cache_interval=3, guidance_end=0.5),
    ):
        ours = make(engine, replace(wanted, cache_order=1))
        assert np.array_equal(ours, make(engine, wanted))


def test_features_are_dropped_once_no_step_needs_them(engine: SdxlEngine) -> None:
    lane = engine.start(spec(steps=5, cache_interval=2, cache_order=1))
    kept = []
    for _ in range(5):
        engine.step([lane])
        kept.append(len(lane.seen))
    assert kept == [1, 1, 2, 0, 0]


def test_an_image_that_forecasts_features_starts_anew_elsewhere(engine: SdxlEngine) -> None:
    lane = engine.start(spec(steps=5, cache_interval=2, cache_order=1))
    saved = []
    for _ in range(5):
        engine.step([lane])
        saved.append(engine.save(lane, 2**24) is not None)
    assert saved == [False, False, False, True, True]


def test_only_workers_that_cache_steps_offer_forecasts(
    engine: SdxlEngine, plain: SdxlEngine
) -> None:
    assert CACHE_ORDER in engine.capabilities.features
    assert CACHE_ORDER not in plain.capabilities.features
    names = [program.name for program in engine.capabilities.programs]
    assert {"forecast 16x8 guided", "forecast 16x8 unguided"} < set(names)


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

"""Samplers that use two earlier predictions, on the smallest model."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Sharding

from easel_worker.calibrate.images import Calibration
from easel_worker.compile.plan import compile_all, read
from easel_worker.engine import ImageSpec, ProgramInfo
from easel_worker.sdxl.samplers.sampler import needs_older
from easel_worker.sdxl.serving.compilation import Program, trace
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from tests.sdxl.engines import ahead, start
from tests.sdxl.test_engine import counted_compilations, in_company, make
from tests.sdxl.tiny_model import spec, tokens, write

SCHEDULER = "scheduler/scheduler_config.json"
LATENTS = (4, 8, 4)
ONE = jax.devices()[:1]


def with_class(folder: Path, **changes: Any) -> Path:
    """Write the tiny model with changes to its scheduler's configuration."""
    path = write(folder) / SCHEDULER
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose own sampler is UniPC."""
    made = tmp_path_factory.mktemp("unipc")
    return with_class(made, _class_name="UniPCMultistepScheduler")


@pytest.fixture(scope="module")
def engine(folder: Path) -> SdxlEngine:
    return start(folder, ahead(), max_cache_interval=3)


def mixed_specs() -> list[ImageSpec]:
    """Samplers that use two earlier predictions or fewer, with every kind of step."""
    return [
        spec(scheduler="unipc", steps=5, cache_interval=2),
        spec("a blue square", scheduler="dpmpp_3m_karras", steps=7, guidance_end=0.6),
        spec("white", scheduler="dpmpp_3m_sde", guidance=1.0, steps=6, cache_interval=3),
        spec("green", scheduler="dpmpp_3m", steps=15, guidance=1.0),
        spec("green", scheduler="euler_ancestral", negative=tokens("blurry")),
        spec(),
    ]


class Lowering:
    """Stands in for a compiler: keeps the shapes of what programs take and return."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[list[tuple[int, ...]], list[tuple[int, ...]]]] = {}

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        traced = trace(function, arguments, where)
        taken = [a.shape for a in jax.tree.leaves(traced.jaxpr.in_avals)]
        given = [a.shape for a in jax.tree.leaves(traced.out_info)]
        self.shapes[name] = (taken, given)
        return Program(ProgramInfo(name, 0.0, cached=False), function)


@pytest.mark.parametrize(
    ("scheduler", "options", "arrays", "numbers"),
    [({}, {}, 2, 11), ({}, {"more_schedulers": True}, 3, 12), ({"solver_order": 3}, {}, 2, 11)],
)
def test_programs_have_a_third_array_only_if_a_sampler_needs_it(
    tmp_path: Path,
    scheduler: dict[str, Any],
    options: dict[str, Any],
    arrays: int,
    numbers: int,
) -> None:
    """Without one they are what they were before there were such samplers."""
    model = with_class(tmp_path / "tiny", **scheduler)
    common = {"devices": ONE, "sizes": [], "max_prompt_chunks": 1, "max_cache_interval": 2}
    compiler = Lowering()
    compile_all(read(model, Options(**common, **options), only=False), compiler)  # type: ignore[arg-type]
    assert compiler.shapes["begin 16x8"][1] == [LATENTS] * arrays
    for kind in ("guided", "guided cached", "unguided", "unguided cached"):
        taken, given = compiler.shapes[f"denoise 16x8 {kind} x1"]
        assert taken.count(LATENTS) == given.count(LATENTS) == arrays
        # The timestep, guidance, rescale, seed, step and six or seven coefficients of one lane.
        assert taken[-numbers:] == [(1,)] * numbers
        assert taken[-numbers - 1] != (1,)
    assert compiler.shapes["decode 16x8"][0].count(LATENTS) == 1


def test_a_model_offers_its_own_sampler(engine: SdxlEngine) -> None:
    can = engine.capabilities
    assert can.defaults.scheduler == "unipc"
    offered = {name for name in can.schedulers if needs_older(name)}
    assert offered == {
        *("unipc", "unipc_karras", "dpmpp_3m", "dpmpp_3m_karras"),
        *("dpmpp_3m_sde", "dpmpp_3m_sde_karras", "dpmpp_3m_sde_exponential"),
    }


@pytest.mark.parametrize(
    "wanted",
    [*mixed_specs(), spec(scheduler="heun", steps=3)],
    ids=lambda each: each.scheduler,
)
def test_each_step_applies_its_row_to_the_last_two_predictions(
    engine: SdxlEngine, wanted: ImageSpec
) -> None:
    lane = engine.start(wanted)
    before = jax.tree.map(np.asarray, lane.state)
    assert not before.image.any()
    assert not before.older.any()
    used = False
    for row in range(lane.evaluations):
        engine.step([lane])
        at, state = lane.table.at(row), jax.tree.map(np.asarray, lane.state)
        output = (state.image - at.data_sample * before.sample) / at.data_output
        expected = at.next_sample * before.sample + at.next_output * output
        expected += at.next_previous * before.image + at.next_older * before.older
        if at.next_noise == 0:
            scale = np.abs(expected).max()
            np.testing.assert_allclose(state.sample, expected, atol=1e-4 * scale)
        assert np.array_equal(state.older, before.image)
        used |= bool(at.next_older)
        before = state
    assert used == needs_older(wanted.scheduler)


def test_images_do_not_depend_on_other_images_and_nothing_compiles(engine: SdxlEngine) -> None:
    specs = mixed_specs()
    with counted_compilations() as seen:
        alone = [make(engine, each) for each in specs]
        for seed in range(5):
            together = in_company(engine, specs, random.Random(seed))
            assert all(np.array_equal(t, a) for t, a in zip(together, alone, strict=True))
        assert engine.preview(engine.start(specs[0])) is not None
    assert not seen


def test_devices_in_pairs_make_the_same_images(folder: Path, engine: SdxlEngine) -> None:
    """Each row is computed alone, which may round its sums differently."""
    paired = start(folder, devices=jax.devices()[:4], split_guidance=True, max_cache_interval=3)
    specs = mixed_specs()
    for wanted, image in zip(specs, in_company(paired, specs, random.Random(0)), strict=True):
        assert np.abs(image.astype(int) - make(engine, wanted)).max() <= 1


def test_other_samplers_make_the_same_images_as_without(engine: SdxlEngine, tmp_path: Path) -> None:
    plain = start(write(tmp_path))
    assert not any(needs_older(name) for name in plain.capabilities.schedulers)
    for scheduler in ("euler", "dpmpp_2m_sde", "ddim"):
        wanted = spec(scheduler=scheduler)
        assert np.abs(make(plain, wanted).astype(int) - make(engine, wanted)).max() <= 1


def test_a_calibration_makes_the_same_image_as_a_worker(engine: SdxlEngine, folder: Path) -> None:
    guidance = engine.capabilities.defaults.guidance_scale
    lane = engine.start(spec(seed=5, guidance=guidance, scheduler="unipc"))
    for _ in range(lane.spec.steps):
        engine.step([lane])
    options = Options(devices=ONE, sizes=[], max_prompt_chunks=1)
    made = Calibration(folder, options, lambda _: None).add(lane.spec.prompt, 5, lane.spec.steps)
    np.testing.assert_allclose(made, lane.state.sample, atol=1e-4)

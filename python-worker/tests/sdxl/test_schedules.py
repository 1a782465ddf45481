"""The request's own timesteps, sigmas, spacing and eta, in the engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easel_worker.engine import SCHEDULES, ImageSpec, InvalidRequest, Pixels
from easel_worker.sdxl.serving.engine import SdxlEngine
from tests.sdxl.engines import start
from tests.sdxl.tiny_model import spec, write


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SdxlEngine:
    folder: Path = tmp_path_factory.mktemp("model")
    write(folder)
    return start(folder)


def image(engine: SdxlEngine, wanted: ImageSpec) -> Pixels:
    lane = engine.start(wanted)
    while lane.step < wanted.steps:
        engine.step([lane])
    return engine.finish(lane)


def test_a_schedule_changes_the_image(engine: SdxlEngine) -> None:
    assert SCHEDULES in engine.capabilities.features
    plain, noisy = spec(steps=3), spec(steps=3, scheduler="ddim")
    changes: list[tuple[ImageSpec, dict[str, Any]]] = [
        (plain, {"timestep_spacing": "trailing"}),
        (plain, {"timesteps": (900, 400, 30)}),
        (plain, {"sigmas": (9.0, 3.0, 0.5, 0.0)}),
        (noisy, {"eta": 1.0}),
    ]
    for wanted, change in changes:
        assert np.any(image(engine, wanted) != image(engine, replace(wanted, **change)))


def test_the_models_own_timesteps_make_the_same_image(engine: SdxlEngine) -> None:
    wanted = spec(steps=3)
    own = engine.start(wanted).table.timesteps
    given = replace(wanted, timesteps=tuple(int(time) for time in own))
    assert np.array_equal(image(engine, given), image(engine, wanted))


def test_a_sampler_that_takes_no_schedule_refuses_it(engine: SdxlEngine) -> None:
    with pytest.raises(InvalidRequest, match="euler takes no eta"):
        engine.start(spec(steps=3, eta=0.5))
    with pytest.raises(InvalidRequest, match="2 entries, one for each of 3 steps"):
        engine.start(spec(steps=3, timesteps=(900, 400)))

"""Images that move to another engine in the middle: the same bytes as alone, and no step twice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easel_worker.engine import BadState, LaneState
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.state_kind import state_kind
from tests.sdxl.engines import start
from tests.sdxl.test_company import OF_ONE_SIZE, PICTURES, PROMPTS, REFINED, SAVING
from tests.sdxl.test_several_devices import repertoire, write_everything
from tests.sdxl.tiny_model import SIZES, spec, write, write_refiner
from tests.support.company import Repertoire
from tests.support.moves import Pair, play_moves

MOST = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("states"))


def pair(folder: Path, **options: Any) -> Pair:
    """Two engines that share nothing but their programs."""
    return Pair(*(start(folder, rows=5, **options) for _ in range(2)))


CACHING = {"max_cache_interval": 2, "more_schedulers": True, "image_inputs": True}
KINDS: dict[str, tuple[Repertoire, dict[str, Any]]] = {
    "every sampler, cached and unguided steps": (
        SAVING,
        {"max_cache_interval": 3, "more_schedulers": True},
    ),
    "long and weighted prompts": (PROMPTS, {"max_prompt_chunks": 2}),
    "pictures, masks and latents": (PICTURES, CACHING),
    "batches": (OF_ONE_SIZE, {"batch_lanes": (3,)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_move_at_random_steps(kind: str, folder: Path) -> None:
    wanted, options = KINDS[kind]
    moves = play_moves(pair(folder, **options), wanted, range(20))
    assert moves.wrong == []
    assert moves.moves > 25
    assert moves.steps_again == 0


def test_images_of_an_inpainting_model_move(tmp_path: Path) -> None:
    folder = write(tmp_path / "inpainting", {"in_channels": 9})
    moves = play_moves(pair(folder, **CACHING), PICTURES, range(20))
    assert (moves.wrong, moves.steps_again) == ([], 0)
    assert moves.moves > 25


def test_images_move_before_and_after_the_refiner_takes_over(folder: Path, tmp_path: Path) -> None:
    options = {"more_schedulers": True, "image_inputs": True, "max_prompt_chunks": 2}
    refiner = write_refiner(tmp_path / "refiner")
    moves = play_moves(pair(folder, refiner=refiner, **options), REFINED, range(20))
    assert (moves.wrong, moves.steps_again) == ([], 0)
    assert moves.moves > 25


def test_images_with_loras_nets_and_adapters_move(tmp_path: Path) -> None:
    files = write_everything(tmp_path)
    model = files.pop("model")
    two = pair(model, **files, more_schedulers=True, image_inputs=True)
    moves = play_moves(two, repertoire(two.first), range(9000, 9016))
    assert (moves.wrong, moves.steps_again) == ([], 0)
    assert moves.moves > 25


def test_a_deep_feature_that_does_not_fit_costs_the_steps_since_the_last_full_one(
    folder: Path,
) -> None:
    two = pair(folder, max_cache_interval=3)
    kinds = tuple(one for one in SAVING.savings if "cache_interval" in one)
    plain = tuple(name for name in two.first.capabilities.schedulers)
    wanted = replace(SAVING, schedulers=plain, savings=kinds)
    lane = two.first.start(spec())
    bare = 2 * np.asarray(lane.state.sample).nbytes
    moves = play_moves(two, wanted, range(20), most=bare)
    assert moves.wrong == []
    assert moves.moves > 20
    assert moves.steps_again > 0
    assert play_moves(two, wanted, range(5), most=bare - 1).moves == 0


@pytest.fixture(scope="module")
def engine(folder: Path) -> SdxlEngine:
    return start(folder, rows=5)


def saved(engine: SdxlEngine, steps: int = 2, **changes: Any) -> LaneState:
    lane = engine.start(spec(**changes))
    for _ in range(steps):
        engine.step([lane])
    state = engine.save(lane, MOST)
    assert state is not None
    return state


def test_a_saved_lane_goes_on_where_it_was(engine: SdxlEngine) -> None:
    state = saved(engine)
    assert (state.evaluation, state.step) == (2, 2)
    lane = engine.resume(spec(), state)
    assert (lane.evaluation, lane.step) == (2, 2)
    assert engine.save(lane, MOST) == state


@pytest.mark.parametrize(
    "change",
    [
        lambda state: replace(state, data=bytes(state.data)[:-4]),
        lambda state: replace(state, data=bytes(state.data) + bytes(4)),
        lambda state: replace(state, data=b""),
        lambda state: replace(state, evaluation=0),
        lambda state: replace(state, evaluation=1000),
        lambda state: replace(state, step=3),
    ],
)
def test_a_state_that_does_not_fit_is_refused(engine: SdxlEngine, change: Any) -> None:
    with pytest.raises(BadState):
        engine.resume(spec(), change(saved(engine)))


def test_a_state_of_another_size_is_refused(folder: Path) -> None:
    both = start(folder, rows=5, sizes=None)
    other = saved(both, width=SIZES[1].width, height=SIZES[1].height)
    with pytest.raises(BadState, match="bytes"):
        both.resume(spec(), other)


def test_numbers_that_are_not_finite_are_not_saved(engine: SdxlEngine) -> None:
    lane = engine.start(spec())
    lane.state = lane.state._replace(sample=lane.state.sample * np.nan)
    engine.step([lane])
    assert engine.save(lane, MOST) is None


def test_the_kind_differs_where_bytes_may(folder: Path, engine: SdxlEngine) -> None:
    kind = engine.capabilities.state_kind
    assert start(folder, rows=7).capabilities.state_kind == kind
    for options in ({"batch_lanes": (2,)}, {"max_cache_interval": 2}, {"more_schedulers": True}):
        assert start(folder, rows=5, **options).capabilities.state_kind != kind
    about, options = engine._about, engine._options
    for changed in ({"dtype": "bfloat16"}, {"vae_dtype": "bfloat16"}, {"vae_tile": 64}):
        assert state_kind(about, replace(options, **changed)) != kind

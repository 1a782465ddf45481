"""The loop of a worker that leaves gives back states, and that of another one continues them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import UNSET

from easel_worker.engine import LaneState
from easel_worker.fake.engine import SCHEDULERS, FakeEngine
from easel_worker.fake.options import Fault, Options
from easel_worker.mailbox import Leave, Lost
from easel_worker.protocol import Failed, Generate, Progress, StateForm, Used
from tests.support.company import Repertoire
from tests.support.moves import MOST, Pair, next_attempt, play_moves
from tests.support.samples import SMALL, generate, is_answer, spec_of, token_ids
from tests.support.stage import OTHER, Stage, progress

AT_ONCE = {"fake_step_ms": 0, "fake_encode_ms": 0, "fake_decode_ms": 0}
LEAVE = Leave(0.0, "it goes")
A = generate("a", 1, max_state_bytes=MOST)


def given_back(request: Generate, cue: Any, **options: Any) -> Failed:
    """What a worker says that has to leave at once when it sends a message."""
    stage = Stage(**options)
    stage.on(cue, LEAVE)
    stage.play(request)
    failed = stage.about(request.id)[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "draining"
    return failed


def test_images_move_at_random_steps() -> None:
    two = Pair(*(FakeEngine(Options(**AT_ONCE, sizes=(SMALL, OTHER), rows=4)) for _ in range(2)))
    repertoire = Repertoire(
        [token_ids()],
        (SMALL, OTHER),
        SCHEDULERS,
        steps=(1, 3, 6),
        savings=({}, {"guidance_end": 0.5}, {"output_type": "latent"}),
    )
    moves = play_moves(two, repertoire, range(200))
    assert (moves.wrong, moves.steps_again) == ([], 0)
    assert moves.moves > 200


def test_another_worker_continues_at_the_step() -> None:
    failed = given_back(A, progress("a", "denoising", 3))
    [form] = failed.states  # type: ignore[union-attr]
    assert (form.image, form.step, form.evaluation, form.bytes) == (0, 3, 3, len(failed.frames[0]))
    again = next_attempt(A, [], failed)
    second = Stage()
    second.play(again)
    steps = [(m.stage, m.step) for m in second.about(again.id) if isinstance(m, Progress)]
    assert steps == [("encoding", 3), ("denoising", 4), ("decoding", 4)]
    assert is_answer(second.results(again.id)[0], replace(again))
    assert second.vitals.heartbeat("s").steps_total == 1


def test_what_both_workers_used_is_what_they_were_busy() -> None:
    first, second = Stage(), Stage()
    first.on(progress("a", "denoising", 3), LEAVE)
    first.play(A)
    failed = first.about("a")[-1]
    assert isinstance(failed, Failed)
    assert failed.used == Used(encode_ms=10.0, denoise_ms=300.0)
    [form] = failed.states  # type: ignore[union-attr]
    assert form.used == failed.used
    second.play(next_attempt(A, [], failed))
    [result] = second.results("a/1")
    assert result.used == Used(encode_ms=10.0, denoise_ms=100.0, decode_ms=20.0)
    for stage, busy in ((first, 310.0), (second, 130.0)):
        assert stage.vitals.heartbeat("s").used.busy_ms == pytest.approx(busy)  # type: ignore[union-attr]


def test_an_image_that_is_only_to_be_decoded_moves_too() -> None:
    failed = given_back(A, progress("a", "denoising", 4))
    [form] = failed.states  # type: ignore[union-attr]
    assert form.step == 4
    second = Stage()
    second.play(next_attempt(A, [], failed))
    [result] = second.results("a/1")
    assert second.vitals.heartbeat("s").steps_total == 0
    assert (result.timings.denoise_ms, result.timings.decode_ms) == (0.0, 20.0)


def test_an_image_between_the_evaluations_of_a_step_moves() -> None:
    request = replace(A, scheduler="heun", steps=5)
    other = generate("b", 2, steps=9, max_state_bytes=MOST)
    stage = Stage(rows=8)
    # Both have had 3 evaluations: the first is in the middle of its second step.
    stage.on(progress("b", "denoising", 3), LEAVE)
    stage.play(request, other)
    failed = stage.about("a")[-1]
    assert isinstance(failed, Failed)
    [form] = failed.states  # type: ignore[union-attr]
    assert (form.step, form.evaluation) == (1, 3)
    second = Stage()
    second.play(next_attempt(request, [], failed))
    steps = [m.step for m in second.about("a/1") if isinstance(m, Progress)]
    assert steps == [1, 2, 3, 4, 5, 5]
    assert second.vitals.heartbeat("s").steps_total == 6


def test_images_without_a_step_have_no_state() -> None:
    assert given_back(A, progress("a", "encoding")).states is UNSET


def test_a_gateway_that_takes_no_states_gets_none() -> None:
    failed = given_back(generate("a", 1), progress("a", "denoising", 3))
    assert (failed.states, failed.frames) == (UNSET, ())
    small = given_back(replace(A, max_state_bytes=39), progress("a", "denoising", 3))
    assert small.states is UNSET


def test_what_fits_the_grace_is_finished() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 3), Leave(1.0, "it goes"))
    stage.play(A)
    assert is_answer(stage.results("a")[0], A)


def test_what_does_not_fit_moves_at_once_and_the_rest_is_finished() -> None:
    long = generate("long", 2, steps=90, max_state_bytes=MOST)
    stage = Stage(rows=4)
    stage.on(progress("a", "denoising", 2), Leave(1.0, "it goes"))
    stage.play(A, long)
    assert is_answer(stage.results("a")[0], A)
    failed = stage.about("long")[-1]
    assert isinstance(failed, Failed)
    [form] = failed.states  # type: ignore[union-attr]
    assert form.step == 2


def test_states_of_a_lost_session_are_not_sent() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 3), Lost("test"))
    stage.play(A)
    assert stage.failure("a") is None


def test_a_state_that_cannot_be_read_from_the_device_is_left_out() -> None:
    class Broken:
        def __init__(self, inner: FakeEngine) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def save(self, *_: object) -> LaneState | None:
            raise RuntimeError("the device is gone")

    stage = Stage()
    stage.engine = Broken(stage.engine)  # type: ignore[assignment]
    stage.on(progress("a", "denoising", 3), LEAVE)
    stage.play(A)
    failed = stage.about("a")[-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.states) == ("draining", UNSET)


def flipped(request: Generate) -> Generate:
    data = bytearray(request.frames[0])
    data[7] ^= 1
    return replace(request, frames=(memoryview(data),))


def form_changed(**changes: Any) -> Callable[[Generate], Generate]:
    def changed(request: Generate) -> Generate:
        [form] = request.states  # type: ignore[union-attr]
        return replace(request, states=(replace(form, **changes),))

    return changed


def twice(request: Generate) -> Generate:
    [form] = request.states  # type: ignore[union-attr]
    [frame] = request.frames
    return replace(request, states=(form, form), frames=(frame, frame))


@pytest.mark.parametrize(
    "change",
    [
        flipped,
        twice,
        form_changed(digest="0" * 64),
        form_changed(step=2),
        form_changed(evaluation=2),
        form_changed(image=1),
        lambda request: replace(request, seeds=(2,)),
        lambda request: replace(request, steps=5),
        lambda request: replace(request, prompt=token_ids(2)),
    ],
)
def test_a_state_that_is_damaged_or_another_image_s_is_refused(change: Any) -> None:
    again = next_attempt(A, [], given_back(A, progress("a", "denoising", 3)))
    stage = Stage()
    stage.play(change(again))
    assert stage.failure("a/1") == "state"
    assert stage.results("a/1") == []
    assert stage.vitals.heartbeat("s").steps_total == 0


def test_a_state_of_another_model_is_refused_by_the_engine() -> None:
    again = next_attempt(A, [], given_back(A, progress("a", "denoising", 3)))
    stage = Stage(fake_weights="others")
    stage.play(again)
    assert stage.failure("a/1") == "state"


def test_a_worker_that_refuses_states_goes_on_serving() -> None:
    again = next_attempt(A, [], given_back(A, progress("a", "denoising", 3)))
    stage = Stage(fake_weights="others")
    stage.play(*(replace(again, id=f"r{number}") for number in range(20)))
    assert {stage.failure(f"r{number}") for number in range(20)} == {"state"}


def test_a_failure_while_continuing_is_the_request_s_own() -> None:
    again = next_attempt(A, [], given_back(A, progress("a", "denoising", 3)))
    stage = Stage(fake_faults=(Fault("oom", "resume", 1),))
    stage.play(again)
    assert stage.failure("a/1") == "out_of_memory"


def test_the_state_s_digest_says_which_image_it_is_of() -> None:
    failed = given_back(
        generate("a", 1, 2, max_state_bytes=MOST), progress("a", "denoising", 2, image=1)
    )
    forms: tuple[StateForm, ...] = failed.states  # type: ignore[assignment]
    assert [form.image for form in forms] == [0, 1]
    assert len({form.digest for form in forms}) == 2
    assert spec_of(A, 1) != spec_of(A, 2)

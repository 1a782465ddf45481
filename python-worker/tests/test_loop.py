"""The loop: how requests run and every way in which they end."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from easel_worker.engine import ImageSpec, LoraUse
from easel_worker.exit_status import ExitStatus
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Fault, FaultKind, StepTime
from easel_worker.loop import MAX_FAILURES_IN_A_ROW
from easel_worker.mailbox import Broken, Leave, Lost, TurnedAway
from easel_worker.protocol import (
    Bye,
    Cancel,
    Failed,
    FromWorker,
    Generate,
    NotFiniteTotals,
    Progress,
    Result,
)
from easel_worker.requests import MAX_IMAGES
from tests.support.samples import SMALL, generate, is_answer, token_ids, with_pictures
from tests.support.stage import OTHER, Brittle, Stage, progress

A = generate("a", 1)
B = generate("b", 2)


def stages(messages: list[FromWorker], image: int = 0) -> list[tuple[str, int]]:
    return [(m.stage, m.step) for m in messages if isinstance(m, Progress) and m.image == image]


def test_an_image_is_encoded_denoised_decoded_and_sent() -> None:
    stage = Stage()
    stage.play(A)
    assert stages(stage.about("a")) == [
        ("encoding", 0),
        ("denoising", 1),
        ("denoising", 2),
        ("denoising", 3),
        ("denoising", 4),
        ("decoding", 4),
    ]
    assert is_answer(stage.results("a")[0], A)
    assert isinstance(stage.about("a")[-1], Result)


def test_a_second_order_step_runs_the_unet_twice_and_counts_once() -> None:
    request = generate("a", 7, steps=3, scheduler="heun", preview_every=1)
    stage = Stage()
    stage.play(request)
    steps = [("denoising", 1), ("denoising", 2), ("denoising", 3)]
    assert stages(stage.about("a")) == [("encoding", 0), *steps, ("decoding", 3)]
    shown = [m.step for m in stage.about("a") if isinstance(m, Progress) and m.preview]
    assert shown == [1, 2]
    assert stage.vitals.heartbeat("s").steps_total == 5
    assert is_answer(stage.results("a")[0], request)


class Merging:
    """An engine that is not prepared for images with LoRAs until it was asked a few times."""

    def __init__(self, inner: FakeEngine, asked: int, error: Exception | None = None) -> None:
        self._inner = inner
        self._left = asked
        self._error = error
        self.ready: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def prepare(self, spec: ImageSpec, ready: Callable[[], None]) -> bool:
        if spec.loras is UNSET:
            return True
        self._left -= 1
        if self._left > 0:
            return False
        if self._error is not None:
            raise self._error
        return True


@pytest.fixture
def merging(tmp_path: Path) -> tuple[Stage, Generate]:
    """A stage with a folder of LoRAs, and a request for one."""
    (tmp_path / "ink.safetensors").write_bytes(b"ink")
    stage = Stage(loras=tmp_path, rows=4)
    [ink] = stage.engine.capabilities.loras
    return stage, generate("a", 1, loras=(LoraUse(ink.name, ink.digest, 1.0, 1.0),))


def test_other_images_are_made_while_loras_are_merged(merging: tuple[Stage, Generate]) -> None:
    stage, with_lora = merging
    stage.engine = Merging(stage.engine, asked=100)  # type: ignore[arg-type]
    assert stage.play(with_lora, B) is ExitStatus.DRAINED
    assert [message.id for message in stage.sent if isinstance(message, Result)] == ["b", "a"]
    assert is_answer(stage.results("a")[0], with_lora)
    assert stages(stage.about("a"))[0] == ("encoding", 0)


def test_an_image_whose_loras_are_merged_counts_as_no_work(merging: tuple[Stage, Generate]) -> None:
    stage, with_lora = merging
    stage.engine = Merging(stage.engine, asked=50)  # type: ignore[arg-type]
    in_use = []
    stage.on(progress("b", "decoding"), with_lora)
    stage.on(progress("a", "encoding"), B)
    before = stage.vitals.load

    def load(**given: int) -> None:
        in_use.append(given["rows_in_use"])
        before(**given)

    stage.vitals.load = load  # type: ignore[method-assign]
    stage.play(with_lora)
    assert in_use[:40] == [0] * 40
    assert max(in_use) > 0


def test_an_image_that_is_encoded_has_rows() -> None:
    stage = Stage()
    in_use = []

    def encodes(message: FromWorker) -> bool:
        if isinstance(message, Progress) and message.stage == "encoding":
            in_use.append(stage.vitals.turn()[1])
        return False

    stage.on(encodes, Cancel("nothing"))
    stage.play(A)
    assert in_use == [2]


@pytest.mark.parametrize("end", ["error", "cancel", "lost"])
def test_an_image_ends_while_its_loras_are_merged(
    merging: tuple[Stage, Generate], end: str
) -> None:
    stage, with_lora = merging
    error = MemoryError("no room") if end == "error" else None
    stage.engine = Merging(stage.engine, asked=3, error=error)  # type: ignore[arg-type]
    if end == "cancel":
        stage.on(progress("b", "encoding"), Cancel("a"))
    if end == "lost":
        stage.on(progress("b", "encoding"), Lost("gone"))
    assert stage.play(with_lora, B) is ExitStatus.DRAINED
    assert stage.results("a") == []
    wanted = {"error": "out_of_memory", "cancel": "cancelled", "lost": None}
    assert stage.failure("a") == wanted[end]
    assert bool(stage.results("b")) is (end != "lost")


def test_timings_add_up() -> None:
    stage = Stage(rows=2)
    stage.play(A, B)
    first, second = stage.results("a")[0].timings, stage.results("b")[0].timings
    assert (first.queue_ms, first.encode_ms, first.denoise_ms, first.decode_ms) == (0, 10, 400, 20)
    assert (second.queue_ms, second.denoise_ms) == (430, 400)


def test_each_seed_gets_its_image_and_steps_are_shared() -> None:
    request = generate("a", 7, 8)
    stage = Stage()
    stage.play(request)
    assert [result.seed for result in stage.results("a")] == [7, 8]
    assert all(is_answer(result, request) for result in stage.results("a"))
    assert stage.vitals.heartbeat("s").steps_total == 4


def test_requests_of_mixed_sizes_steps_and_guidance_finish() -> None:
    requests = [
        generate("a", 1, 2, steps=3),
        generate("b", 3, steps=5, guidance=1.0),
        generate("c", 4, steps=2, width=OTHER[0], height=OTHER[1]),
        generate("d", 5, 6, 7, steps=4, scheduler="ddim"),
    ]
    stage = Stage()
    stage.play(*requests)
    for request in requests:
        assert len(stage.results(request.id)) == len(request.seeds)
        assert all(is_answer(result, request) for result in stage.results(request.id))


def test_a_later_request_joins_at_the_next_step() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 1), B)
    stage.play(A)
    assert stage.vitals.heartbeat("s").steps_total == 5


def test_previews_come_at_their_interval_and_not_at_the_end() -> None:
    stage = Stage()
    stage.play(generate("a", 1, steps=6, preview_every=2))
    shown = [m for m in stage.about("a") if isinstance(m, Progress) and m.preview]
    assert [m.step for m in shown] == [2, 4]
    assert all(len(m.pixels) == 8 * 6 * 3 for m in shown)


CANCELS = {
    "in the queue": progress("b", "denoising", 1),
    "while it is encoded": progress("a", "encoding"),
    "between steps": progress("a", "denoising", 2),
    "after its last step": progress("a", "denoising", 4),
    "while it is decoded": progress("a", "decoding"),
}


@pytest.mark.parametrize("cue", CANCELS.values(), ids=CANCELS.keys())
def test_a_cancelled_request_ends_at_once_and_changes_no_other(cue: Any) -> None:
    stage = Stage(rows=2)
    stage.on(cue, Cancel("a"))
    first = (B, A) if cue is CANCELS["in the queue"] else (A, B)
    stage.play(*first)
    assert stage.failure("a") == "cancelled"
    *_, last, _ = [None, *stage.about("a")]
    assert last is None or cue(last), "nothing is done for a request that nobody wants"
    assert is_answer(stage.results("b")[0], B)
    assert stage.vitals.heartbeat("s").rows_in_use == 0


def test_a_cancelled_request_takes_no_further_step() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 2), Cancel("a"))
    stage.play(A)
    assert stage.vitals.heartbeat("s").steps_total == 2


def test_a_request_with_a_finished_image_can_still_be_cancelled() -> None:
    stage = Stage(rows=2)
    stage.on(lambda message: isinstance(message, Result), Cancel("a"))
    stage.play(generate("a", 1, 2))
    assert (len(stage.results("a")), stage.failure("a")) == (1, "cancelled")


def test_cancelling_an_unknown_request_sends_nothing() -> None:
    stage = Stage()
    stage.on(lambda message: isinstance(message, Result), Cancel("a"))
    stage.play(Cancel("nobody"), A)
    assert stage.failure("a") is None
    assert stage.about("nobody") == []


def test_a_request_expires_within_a_step() -> None:
    stage = Stage()
    stage.play(generate("a", 1, timeout_ms=150.0), B)
    assert stage.failure("a") == "expired"
    assert stages(stage.about("a"))[-1] == ("denoising", 2)
    assert is_answer(stage.results("b")[0], B)


def test_a_request_expires_in_the_queue() -> None:
    stage = Stage(rows=2)
    stage.play(B, generate("a", 1, timeout_ms=150.0))
    assert (stage.failure("a"), stages(stage.about("a"))) == ("expired", [])


EXPIRIES = {
    "before it is looked at": (0.0, None),
    "while it is encoded": (5.0, ("encoding", 0)),
    "in a step": (150.0, ("denoising", 2)),
    "in its last step": (409.0, ("denoising", 4)),
    "while it is decoded": (415.0, ("decoding", 4)),
}


@pytest.mark.parametrize(("timeout_ms", "last"), EXPIRIES.values(), ids=EXPIRIES.keys())
def test_a_request_that_has_expired_gets_no_further_work(
    timeout_ms: float, last: tuple[str, int] | None
) -> None:
    stage = Stage(rows=2)
    stage.play(generate("a", 1, timeout_ms=timeout_ms), B)
    assert (stage.failure("a"), stage.results("a")) == ("expired", [])
    assert stages(stage.about("a"))[-1:] == ([] if last is None else [last])
    assert is_answer(stage.results("b")[0], B)
    assert stage.vitals.heartbeat("s").rows_in_use == 0


def test_a_request_in_time_does_not_expire() -> None:
    stage = Stage()
    stage.play(generate("a", 1, timeout_ms=431.0))
    assert len(stage.results("a")) == 1


def test_a_lost_session_drops_everything_and_sends_nothing() -> None:
    stage = Stage(rows=2)
    stage.on(progress("a", "denoising", 2), Lost("test"))
    stage.on(progress("a", "denoising", 2), generate("c", 3))
    stage.play(A, B)
    assert stages(stage.about("a"))[-1] == ("denoising", 2)
    assert (stage.failure("a"), stage.about("b"), stage.resumed) == (None, [], 1)
    assert len(stage.results("c")) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("invalid", "encode", 1), "invalid"),
        (Fault("raise", "encode", 1), "internal"),
        (Fault("raise", "1", 1), "internal"),
        (Fault("raise", "3", 1), "internal"),
        (Fault("oom", "2", 1), "out_of_memory"),
        (Fault("oom", "decode", 1), "out_of_memory"),
        (Fault("raise", "decode", 1), "internal"),
    ],
)
def test_only_the_faulty_request_fails(fault: Fault, code: str) -> None:
    stage = Stage(fake_faults=(fault,))
    assert stage.play(A, B) == ExitStatus.DRAINED
    assert (stage.failure("a"), stage.results("a")) == (code, [])
    assert is_answer(stage.results("b")[0], B)
    assert stage.vitals.heartbeat("s").rows_in_use == 0


def test_a_request_cancelled_during_single_steps_takes_no_further_step() -> None:
    stage = Stage()
    stage.engine = Brittle(stage.fake_engine(sizes=(SMALL,), rows=4), 0, RuntimeError("joint"))
    stage.engine.before_step = lambda lanes: len(lanes) == 1 and stage.cancel("b")
    stage.play(A, B)
    assert (stage.failure("b"), stages(stage.about("b"))) == ("cancelled", [("encoding", 0)])
    assert stage.vitals.heartbeat("s").steps_total == 4
    assert is_answer(stage.results("a")[0], A)


def test_a_request_cancelled_during_anothers_preview_gets_none() -> None:
    stage = Stage()
    previews = [generate(name, seed, preview_every=2) for name, seed in (("a", 1), ("b", 2))]
    shown = progress("a", "denoising", 2)
    stage.on(shown, Cancel("b"))
    stage.play(*previews)
    told = stages(stage.about("b"))
    assert (stage.failure("b"), told) == ("cancelled", [("encoding", 0), ("denoising", 1)])
    assert is_answer(stage.results("a")[0], previews[0])


@pytest.mark.parametrize("advance_first", [0, 1])
def test_when_only_shared_steps_fail_all_images_finish_one_by_one(advance_first: int) -> None:
    stage = Stage()
    error = RuntimeError("RESOURCE_EXHAUSTED: out of HBM")
    stage.engine = Brittle(stage.fake_engine(sizes=(SMALL,), rows=4), advance_first, error)
    stage.play(A, B)
    assert is_answer(stage.results("a")[0], A)
    assert is_answer(stage.results("b")[0], B)


@pytest.mark.parametrize(("kind", "code"), [("raise", "internal"), ("oom", "out_of_memory")])
def test_a_worker_whose_engine_keeps_failing_exits(kind: FaultKind, code: str) -> None:
    faults = tuple(Fault(kind, "1", seed) for seed in range(MAX_FAILURES_IN_A_ROW))
    stage = Stage(fake_faults=faults, rows=2)
    requests = [generate(f"r{seed}", seed) for seed in range(MAX_FAILURES_IN_A_ROW)]
    assert stage.play(*requests, generate("waiting", 99)) == ExitStatus.BROKEN
    assert [stage.failure(request.id) for request in requests] == [code] * len(requests)
    assert stage.about("waiting") == []


@pytest.mark.parametrize(
    ("stage_name", "counted", "said"),
    [
        ("encode", "text_encoder", "text_encoder"),
        ("1", "denoise", "step 1 of 4"),
        ("3", "denoise", "step 3 of 4"),
        ("4", "denoise", "step 4 of 4"),
        ("decode", "decode", "the decoder"),
    ],
)
def test_an_image_that_is_not_finite_fails_alone_and_names_its_stage(
    stage_name: str, counted: str, said: str
) -> None:
    stage = Stage(fake_faults=(Fault("nan", stage_name, 1),))
    bad = generate("a", 1, preview_every=1)
    stage.play(bad, B)
    assert stage.failure("a") == "internal"
    (failed,) = [m for m in stage.about("a") if isinstance(m, Failed)]
    assert failed.message == f"{said} produced numbers that are not finite (NaN or infinite)"
    shown = [m.step for m in stage.about("a") if isinstance(m, Progress) and m.preview]
    assert stage_name not in map(str, shown)
    assert is_answer(stage.results("b")[0], B)
    totals = stage.vitals.heartbeat("s").not_finite
    assert totals == replace(NotFiniteTotals(0, 0, 0), **{counted: 1})


def test_nothing_is_computed_for_an_image_that_is_not_finite() -> None:
    stage = Stage(fake_faults=(Fault("nan", "1", 1),))
    stage.play(generate("a", 1, steps=9))
    assert stage.vitals.heartbeat("s").steps_total == 1


def test_a_worker_whose_images_are_all_not_finite_exits() -> None:
    faults = tuple(Fault("nan", "2", seed) for seed in range(MAX_FAILURES_IN_A_ROW))
    stage = Stage(fake_faults=faults)
    requests = [generate(f"r{seed}", seed) for seed in range(MAX_FAILURES_IN_A_ROW)]
    assert stage.play(*requests) == ExitStatus.BROKEN
    assert [stage.failure(request.id) for request in requests] == ["internal"] * len(requests)


def test_invalid_requests_do_not_count_as_failures() -> None:
    faults = tuple(Fault("invalid", "encode", seed) for seed in range(MAX_FAILURES_IN_A_ROW))
    stage = Stage(fake_faults=faults, rows=2)
    requests = [generate(f"r{seed}", seed) for seed in range(MAX_FAILURES_IN_A_ROW)]
    assert stage.play(*requests, generate("good", 99)) == ExitStatus.DRAINED
    assert len(stage.results("good")) == 1


def test_numbers_that_a_lora_makes_infinite_do_not_count_as_failures(tmp_path: Path) -> None:
    """Its weight is the client's choice, and must not restart the worker."""
    (tmp_path / "ink.safetensors").write_bytes(b"ink")
    faults = tuple(Fault("nan", "1", seed) for seed in range(MAX_FAILURES_IN_A_ROW))
    stage = Stage(fake_faults=faults, rows=2, loras=tmp_path)
    loras = (LoraUse("ink", sha256(b"ink").hexdigest(), 10.0, 1.0),)
    requests = [generate(f"r{seed}", seed, loras=loras) for seed in range(MAX_FAILURES_IN_A_ROW)]
    assert stage.play(*requests, generate("good", 99)) == ExitStatus.DRAINED
    assert [stage.failure(request.id) for request in requests] == ["internal"] * len(requests)
    assert len(stage.results("good")) == 1


def test_sets_of_loras_wait_for_a_place_and_all_finish(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    stage = Stage(rows=8, loras=tmp_path)
    digests = {name: sha256(name.encode()).hexdigest() for name in ("a", "b")}
    requests = [
        generate(f"r{number}", number, loras=(LoraUse(name, digests[name], 1.0, 1.0),))
        for number, name in enumerate("abab")
    ]
    assert stage.play(*requests) == ExitStatus.DRAINED
    ended = [message.id for message in stage.sent if isinstance(message, Result)]
    assert ended == ["r0", "r2", "r1", "r3"]


def test_a_finished_image_resets_the_failure_count() -> None:
    faults = tuple(Fault("raise", "1", seed) for seed in range(MAX_FAILURES_IN_A_ROW))
    stage = Stage(fake_faults=faults, rows=2)
    requests = [generate(f"r{seed}", seed) for seed in range(MAX_FAILURES_IN_A_ROW)]
    assert stage.play(*requests[1:], generate("good", 99), requests[0]) == ExitStatus.DRAINED


def test_a_failing_preview_fails_its_request() -> None:
    stage = Stage()

    class Blind(Brittle):
        def preview(self, lane: object) -> object:
            raise RuntimeError("no preview")

    engine = stage.fake_engine(sizes=(SMALL,), rows=4)
    stage.engine = Blind(engine, 0, RuntimeError())  # type: ignore[assignment]
    stage.play(generate("a", 1, preview_every=1), B)
    assert stage.failure("a") == "internal"
    assert len(stage.results("b")) == 1


def test_a_request_that_does_not_fit_is_invalid() -> None:
    stage = Stage()
    stage.play(generate("a", 1, scheduler="magic"))
    assert stage.failure("a") == "invalid"


def test_an_id_in_use_is_ignored() -> None:
    stage = Stage()
    stage.play(A, generate("a", 9))
    assert [result.seed for result in stage.results("a")] == [1]


def test_too_many_images_are_refused() -> None:
    stage = Stage()
    seeds = range(16)
    count = MAX_IMAGES // len(seeds)
    stage.on(progress("r0", "encoding"), Lost("enough"))
    stage.play(*(generate(f"r{index}", *seeds) for index in range(count + 1)))
    assert stage.failure(f"r{count - 1}") is None
    assert stage.failure(f"r{count}") == "internal"


def test_too_many_bytes_of_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = (with_pictures(generate(name, 1, 2), "image") for name in "abc")
    monkeypatch.setattr("easel_worker.requests.MAX_BYTES_OF_PICTURES", 2 * len(a.frames[0]))
    stage = Stage()
    stage.on(progress("a", "denoising", 3), Lost("enough"))
    stage.play(a, b, c)
    assert [stage.failure(name) for name in "abc"] == [None, None, "internal"]


def test_a_draining_worker_finishes_what_fits_and_fails_the_rest_at_once() -> None:
    stage = Stage(rows=2)
    stage.on(progress("a", "denoising", 2), Leave(0.5, "test"))
    stage.on(progress("a", "denoising", 3), generate("late", 3))
    status = stage.play(A, generate("b", 2, steps=40))
    assert status == ExitStatus.DRAINED
    assert is_answer(stage.results("a")[0], A)
    assert stage.failure("b") == "draining"
    assert stage.failure("late") == "draining"
    assert stage.sent.index(stage.about("b")[-1]) < stage.sent.index(stage.about("a")[-1])
    assert stage.sent[-1] == Bye("test")


def test_a_draining_worker_finishes_some_where_sharing_would_finish_none() -> None:
    """Times of a v5e: 97 ms for each guided image and step, 75 ms for a decoding; 24 rows, 9 s."""
    times = ((SMALL, StepTime(0.0, 48.5)),)
    stage = Stage(rows=24, fake_step_times=times, fake_encode_ms=3.0, fake_decode_ms=75.0)
    requests = [generate(f"r{number}", number, steps=40) for number in range(12)]
    stage.on(progress("r11", "denoising", 1), Leave(9.0, "test"))
    assert stage.play(*requests) == ExitStatus.DRAINED
    finished = [request.id for request in requests if stage.results(request.id)]
    lost = [request.id for request in requests if stage.failure(request.id) == "draining"]
    assert (finished, lost) == (["r0", "r1"], [f"r{number}" for number in range(2, 12)])
    assert stage.now <= 1000.0 + 12 * 0.003 + 12 * 0.097 + 9.0
    told = [stage.sent.index(stage.about(name)[-1]) for name in ("r11", "r0")]
    assert told == sorted(told)


def test_a_decoded_image_is_sent_after_the_deadline() -> None:
    stage = Stage(fake_decode_ms=500.0)
    stage.on(progress("a", "decoding"), Leave(0.4, "test"))
    stage.play(A)
    assert is_answer(stage.results("a")[0], A)


def test_a_draining_worker_makes_no_previews() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 1), Leave(9.0, "test"))
    stage.play(generate("a", 1, preview_every=1))
    shown = [m.step for m in stage.about("a") if isinstance(m, Progress) and m.preview]
    assert (shown, len(stage.results("a"))) == ([1], 1)


def test_a_draining_worker_exits_in_time() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 1), Leave(0.25, "test"))
    stage.on(progress("a", "denoising", 1), Leave(100.0, "later does not help"))
    assert stage.play(generate("a", 1, steps=3), generate("b", 2, steps=9)) == ExitStatus.DRAINED
    assert (len(stage.results("a")), stage.failure("b")) == (1, "draining")
    assert stage.now <= 1000.0 + 0.02 + 0.1 + 0.25 + 0.1


def test_an_idle_worker_exits_at_once() -> None:
    stage = Stage()
    assert stage.play(Leave(100.0, "test")) == ExitStatus.DRAINED
    assert (stage.sent, stage.now) == ([Bye("test")], 1000.0)


def test_a_refused_worker_stops() -> None:
    stage = Stage()
    assert stage.play(A, TurnedAway("tokenizer", "no")) == ExitStatus.REFUSED
    assert stage.sent == []


def test_a_failed_transport_stops_the_worker() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 1), Broken(OSError("test")))
    assert stage.play(A) == ExitStatus.FAILED


def test_the_load_is_reported() -> None:
    stage = Stage(rows=2)
    seen = []

    def look(_: FromWorker) -> bool:
        seen.append(stage.vitals.heartbeat("s"))
        return False

    stage.on(look, Lost("never"))
    stage.play(A, B)
    assert max(beat.rows_in_use for beat in seen) == 2
    assert max(beat.queued for beat in seen) == 1
    last = stage.vitals.heartbeat("s")
    assert (last.rows_in_use, last.queued, last.memory[0].bytes_limit) == (0, 0, 1 << 30)


@settings(max_examples=60)
@given(
    requests=st.lists(
        st.tuples(
            st.integers(1, 3),  # images
            st.integers(1, 6),  # steps
            st.sampled_from([1.0, 5.0]),  # guidance
            st.sampled_from([SMALL, OTHER]),
            st.integers(1, 3),  # chunks
            st.just(UNSET) | st.floats(1.0, 3000.0),  # timeout in ms
            st.integers(0, 60),  # arrives after this many messages
        ),
        min_size=1,
        max_size=8,
    ),
    cancels=st.lists(st.tuples(st.integers(0, 7), st.integers(1, 80)), max_size=4),
    faults=st.lists(
        st.tuples(st.sampled_from(["encode", "1", "2", "decode"]), st.integers(0, 30)), max_size=2
    ),
)
def test_every_request_ends_once_with_its_own_images(
    requests: list[Any], cancels: list[tuple[int, int]], faults: list[tuple[str, int]]
) -> None:
    stage = Stage(fake_faults=tuple(Fault("raise", where, seed) for where, seed in faults))
    asked, seed = [], 0
    for index, (images, steps, guidance, size, chunks, timeout, after) in enumerate(requests):
        request = generate(
            f"r{index}",
            *range(seed, seed + images),
            prompt=token_ids(chunks=chunks),
            steps=steps,
            guidance=guidance,
            width=size[0],
            height=size[1],
            timeout_ms=timeout,
        )
        seed += images
        asked.append((request, after))
    for request, after in asked[1:]:
        stage.on(lambda _, after=after: len(stage.sent) >= after, request)  # type: ignore[misc]
    for index, after in cancels:
        stage.on(lambda _, after=after: len(stage.sent) >= after, Cancel(f"r{index}"))  # type: ignore[misc]
    assert stage.play(asked[0][0]) == ExitStatus.DRAINED

    for request, _ in asked:
        results = stage.results(request.id)
        assert all(is_answer(result, request) for result in results)
        if stage.failure(request.id) is None and stage.about(request.id):
            assert sorted(result.image for result in results) == list(range(len(request.seeds)))
    heartbeat = stage.vitals.heartbeat("s")
    assert (heartbeat.rows_in_use, heartbeat.queued) == (0, 0)

"""The law of the meter: all that the engine worked is charged to images or is padding."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easel_worker.engine import Lane
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Fault, StepTime
from easel_worker.mailbox import Lost
from easel_worker.protocol import Cancel, Failed, Result, Used
from tests.support.samples import SMALL, generate
from tests.support.stage import OTHER, Stage, progress

TIMES = ((SMALL, StepTime(10.0, 30.0)), (OTHER, StepTime(5.0, 20.0)))


class Padding:
    """An engine that computes as many rows again as a step has, up to a limit, and takes longer."""

    def __init__(self, inner: FakeEngine, rows: int) -> None:
        self._inner = inner
        self._rows = rows
        self._padded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, lanes: Sequence[Lane]) -> None:
        """As the engine, with padding."""
        self._inner.step(lanes)
        rows = sum(lane.spec.rows_at(lane.step - 1) for lane in lanes)
        self._padded += min(rows, self._rows)

    def rows_padded(self) -> int:
        """How many rows were padding."""
        return self._padded


def charged(stage: Stage) -> list[Used]:
    """What the worker reported of each image or request."""
    ends = [message for message in stage.sent if isinstance(message, Result | Failed)]
    return [message.used for message in ends if isinstance(message.used, Used)]


def total_ms(used: Used) -> float:
    """All kinds of work together."""
    return used.encode_ms + used.denoise_ms + used.preview_ms + used.decode_ms


def test_an_image_is_charged_for_its_encoding_steps_and_decoding() -> None:
    stage = Stage()
    stage.play(generate("a", 1))
    assert charged(stage) == [Used(encode_ms=10.0, denoise_ms=400.0, decode_ms=20.0)]
    busy = stage.vitals.heartbeat("s").used
    assert (busy.busy_ms, busy.padding_ms) == (430.0, 0.0)  # type: ignore[union-attr]


def test_images_share_a_step_by_their_rows() -> None:
    stage = Stage(rows=4)
    stage.play(generate("guided", 1), generate("plain", 2, guidance=1.0))
    by_name = {each.id: each.used for each in stage.sent if isinstance(each, Result)}
    assert by_name["guided"].denoise_ms == pytest.approx(400 * 2 / 3, abs=0.01)  # type: ignore[union-attr]
    assert by_name["plain"].denoise_ms == pytest.approx(400 / 3, abs=0.01)  # type: ignore[union-attr]


def test_a_cancelled_request_is_charged_for_what_was_done() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 2), Cancel("a"))
    stage.play(generate("a", 1))
    assert stage.failure("a") == "cancelled"
    assert charged(stage) == [Used(encode_ms=10.0, denoise_ms=200.0)]


def test_a_lost_gateway_is_told_nothing_of_the_session_before() -> None:
    stage = Stage()
    stage.on(progress("a", "denoising", 2), Lost("the gateway is gone"))
    stage.play(generate("a", 1))
    assert stage.vitals.heartbeat("next").used.busy_ms == 0.0  # type: ignore[union-attr]


requests = st.lists(
    st.fixed_dictionaries(
        {
            "seeds": st.integers(1, 3),
            "steps": st.integers(1, 5),
            "guidance": st.sampled_from([1.0, 5.0]),
            "guidance_end": st.sampled_from([0.5, 1.0]),
            "scheduler": st.sampled_from(["euler", "heun"]),
            "small": st.booleans(),
            "preview_every": st.integers(0, 2),
            "cancelled_at": st.none() | st.integers(1, 5),
            "fault": st.sampled_from([None, "raise", "nan"]),
        }
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150)
@given(requests=requests, padding=st.integers(0, 4))
def test_what_is_charged_and_padding_are_what_the_engine_worked(
    requests: list[dict[str, Any]], padding: int
) -> None:
    asked, faults, cues = [], [], []
    seed = 0
    for number, each in enumerate(requests):
        seeds = [seed := seed + 1 for _ in range(each.pop("seeds"))]
        size = SMALL if each.pop("small") else OTHER
        cancelled_at, fault = each.pop("cancelled_at"), each.pop("fault")
        if fault is not None:
            faults.append(Fault(fault, str(each["steps"]), seeds[0]))
        if cancelled_at is not None:
            cues.append((f"r{number}", cancelled_at))
        asked.append(generate(f"r{number}", *seeds, width=size.width, height=size.height, **each))
    stage = Stage(rows=8, fake_step_times=TIMES, fake_faults=tuple(faults))
    stage.engine = engine = Padding(stage.engine, padding)  # type: ignore[assignment, arg-type]
    for name, step in cues:
        stage.on(progress(name, "denoising", step), Cancel(name))
    stage.play(*asked)
    busy = stage.vitals.heartbeat("s").used
    worked_ms = engine.clock() * 1000
    assert busy.busy_ms == pytest.approx(worked_ms, abs=0.01)  # type: ignore[union-attr]
    accounted = sum(map(total_ms, charged(stage))) + busy.padding_ms  # type: ignore[union-attr]
    assert accounted == pytest.approx(worked_ms, abs=0.01 * len(stage.sent))

"""The time line of a start."""

import subprocess
import sys
import time

import pytest

from easel_worker.timeline import FIRST_IMAGE, Timeline


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def timeline(now: list[float]) -> Timeline:
    return Timeline(age=2.0, clock=lambda: now[0])


def test_spans_are_relative_to_the_start_of_the_process(
    timeline: Timeline, now: list[float]
) -> None:
    timeline.add("imports", 0.0)
    with timeline.span("weights"):
        now[0] += 3
    assert timeline.line() == "imports 0.0-2.0, weights 2.0-5.0"


def test_overlapping_spans_are_in_the_order_of_their_starts(
    timeline: Timeline, now: list[float]
) -> None:
    with timeline.span("weights"):
        now[0] += 1
        start = timeline.now()
        now[0] += 1
        timeline.add("encode", start, "compiled")
    assert timeline.line() == "weights 2.0-4.0, encode 3.0-4.0 (compiled)"
    assert timeline.plain()[1] == {"name": "encode", "start": 3.0, "end": 4.0, "note": "compiled"}


def test_a_moment_is_recorded_once(timeline: Timeline, now: list[float]) -> None:
    first = timeline.once(FIRST_IMAGE)
    now[0] += 1
    assert first is not None
    assert first.end == 2.0
    assert timeline.once(FIRST_IMAGE) is None
    assert timeline.spans == (first,)


def test_a_span_that_fails_is_not_recorded(timeline: Timeline) -> None:
    def fail() -> None:
        with timeline.span("weights"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 (our own)
        fail()
    assert timeline.spans == ()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when a process began")
def test_the_process_age_is_right() -> None:
    code = "import time; from easel_worker.timeline import process_age; print(process_age())"
    before = time.monotonic()
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert 0 < float(output.stdout) <= time.monotonic() - before + 0.02  # a tick of the kernel's

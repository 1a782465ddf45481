"""The contents of heartbeats."""

from msgspec import UNSET

from easel_worker.engine import DeviceMemory, Merges
from easel_worker.protocol import LoraSets
from easel_worker.vitals import Vitals


def test_a_heartbeat_has_counters_and_gauges() -> None:
    vitals = Vitals()
    vitals.stepped(12.34567)
    vitals.load(rows_in_use=4, queued=2, rows_padded_total=7)
    vitals.memory((DeviceMemory(0, 1, 2),))
    beat = vitals.heartbeat("s1")
    assert (beat.session, beat.steps_total, beat.step_ms) == ("s1", 1, (12.346,))
    assert (beat.rows_in_use, beat.queued, beat.rows_padded_total) == (4, 2, 7)
    assert beat.memory == (DeviceMemory(0, 1, 2),)


def test_step_durations_are_reported_once_and_only_the_latest_64() -> None:
    vitals = Vitals()
    for step in range(100):
        vitals.stepped(float(step))
    beat = vitals.heartbeat("s1")
    assert beat.step_ms == tuple(float(step) for step in range(36, 100))
    assert beat.steps_total == 100
    assert vitals.heartbeat("s1").step_ms == ()
    assert vitals.heartbeat("s1").steps_total == 100


def test_a_heartbeat_has_sets_of_loras_if_the_engine_takes_any() -> None:
    vitals = Vitals()
    vitals.merged(None, 0)
    assert vitals.heartbeat("s1").lora_sets is UNSET
    vitals.merged(Merges(2, 7, 1.23456), 1)
    assert vitals.heartbeat("s1").lora_sets == LoraSets(2, 7, 1.235, 1)

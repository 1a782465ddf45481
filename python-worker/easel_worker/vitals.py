"""The values of heartbeats: the loop's thread writes them, the transport's thread reads them."""

import threading
from collections import deque
from dataclasses import replace

from msgspec import UNSET, UnsetType

from easel_worker.engine import DeviceMemory, Merges, NotFiniteStage
from easel_worker.protocol import Busy, Heartbeat, LoraSets, NotFiniteTotals

STEPS_REMEMBERED = 64


class Vitals:
    """The worker's counters and gauges. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns = 0
        self._steps_total = 0
        self._step_ms: deque[float] = deque(maxlen=STEPS_REMEMBERED)
        self._rows_in_use = 0
        self._rows_padded_total = 0
        self._queued = 0
        self._memory: tuple[DeviceMemory, ...] = ()
        self._not_finite = NotFiniteTotals(0, 0, 0)
        self._lora_sets: LoraSets | UnsetType = UNSET
        self._busy_s = 0.0
        self._padding_s = 0.0

    def stepped(self, milliseconds: float) -> None:
        """Count one denoising step."""
        with self._lock:
            self._steps_total += 1
            self._step_ms.append(round(milliseconds, 3))

    def busy(self, seconds: float, padding: float) -> None:
        """Count a call of the engine, and its part that computed only padding."""
        with self._lock:
            self._busy_s += seconds
            self._padding_s += padding

    def new_session(self) -> None:
        """Begin to count the engine's calls again: nobody asks for those so far any more."""
        with self._lock:
            self._busy_s = self._padding_s = 0.0

    def not_finite(self, stage: NotFiniteStage) -> None:
        """Count an image that failed because its numbers were not finite."""
        with self._lock:
            before = getattr(self._not_finite, stage)
            self._not_finite = replace(self._not_finite, **{stage: before + 1})

    def load(self, *, rows_in_use: int, queued: int, rows_padded_total: int) -> None:
        """Set the current load. The loop calls this between any two calls of the engine."""
        with self._lock:
            self._turns += 1
            self._rows_in_use = rows_in_use
            self._queued = queued
            self._rows_padded_total = rows_padded_total

    def merged(self, merges: Merges | None, preparing: int) -> None:
        """Set what LoRAs were merged into, and how many images with rows wait for that."""
        with self._lock:
            if merges is not None:
                held, total, seconds = merges
                self._lora_sets = LoraSets(held, total, round(seconds, 3), preparing)

    def turn(self) -> tuple[int, int]:
        """How often `load` was called, and the rows in use. A hung loop stops calling `load`."""
        with self._lock:
            return self._turns, self._rows_in_use

    def memory(self, devices: tuple[DeviceMemory, ...]) -> None:
        """Set the devices' memory."""
        with self._lock:
            self._memory = devices

    def heartbeat(self, session: str) -> Heartbeat:
        """The next heartbeat. Each step duration is in one heartbeat only."""
        with self._lock:
            step_ms = tuple(self._step_ms)
            self._step_ms.clear()
            return Heartbeat(
                session=session,
                steps_total=self._steps_total,
                rows_in_use=self._rows_in_use,
                rows_padded_total=self._rows_padded_total,
                queued=self._queued,
                step_ms=step_ms,
                memory=self._memory,
                not_finite=self._not_finite,
                lora_sets=self._lora_sets,
                used=Busy(round(self._busy_s * 1000, 3), round(self._padding_s * 1000, 3)),
            )

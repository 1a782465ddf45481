"""Estimates how long steps and decodings take from measurements."""

from collections.abc import Hashable
from typing import TypeVar

from easel_worker.engine import StepShape
from easel_worker.values import Size

_WEIGHT = 0.3  # of the newest measurement

_Key = TypeVar("_Key", bound=Hashable)


class Pace:
    """Measured seconds of steps, by shape and number of rows, and of decodings, by size."""

    def __init__(self) -> None:
        self._step_s: dict[StepShape, dict[int, float]] = {}
        self._decode_s: dict[Size, float] = {}

    def stepped(self, shape: StepShape, rows: int, seconds: float) -> None:
        """Record how long a step took that computed this many rows."""
        _blend(self._step_s.setdefault(_timed(shape), {}), rows, seconds)

    def decoded(self, size: Size, seconds: float) -> None:
        """Record how long a decoding took."""
        _blend(self._decode_s, size, seconds)

    def step_s(self, shape: StepShape, rows: int) -> float:
        """Estimate a step's seconds: a fixed part plus a part for each row, fitted to measurements.

        If all measured steps had the same number of rows, the fixed part is 0. Returns 0 for a
        shape without measurements.
        """
        known = self._step_s.get(_timed(shape), {})
        if rows in known or not known:
            return known.get(rows, 0.0)
        if len(known) == 1:
            [(measured_rows, seconds)] = known.items()
            return seconds * rows / measured_rows
        mean_rows = sum(known) / len(known)
        mean_s = sum(known.values()) / len(known)
        covariance = sum((r - mean_rows) * (s - mean_s) for r, s in known.items())
        row_s = max(0.0, covariance / sum((r - mean_rows) ** 2 for r in known))
        # The fixed part must not be negative.
        row_s = min(row_s, mean_s / mean_rows)
        return mean_s + row_s * (rows - mean_rows)

    def decode_s(self, size: Size) -> float:
        """Estimate a decoding's seconds; 0 for a size without measurements."""
        return self._decode_s.get(size, 0.0)


def _timed(shape: StepShape) -> StepShape:
    """What decides how long a step takes: LoRAs are merged into the weights, so they do not."""
    return shape._replace(adapters=())


def _blend(averages: dict[_Key, float], key: _Key, seconds: float) -> None:
    before = averages.get(key, seconds)
    averages[key] = before + _WEIGHT * (seconds - before)

"""Measured differences, and the table of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Comparison:
    """One thing compared with the reference.

    Attributes:
        subject: what was compared ("unet", "euler karras", ...).
        case: on which model or setting.
        measured: the difference, in the unit of the limit.
        limit: the most that is right.
    """

    subject: str
    case: str
    measured: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the limit. NaN is not."""
        return self.measured <= self.limit


def relative_difference(ours: NDArray[Any], reference: NDArray[Any]) -> float:
    """The largest difference as a part of the largest reference value; inf if shapes differ."""
    if ours.shape != reference.shape:
        return float("inf")
    scale = np.abs(reference).max()
    return float(np.abs(np.asarray(ours, np.float64) - reference).max() / scale)


def table(comparisons: Iterable[Comparison]) -> str:
    """All comparisons, one a line."""
    rows = [("subject", "case", "measured", "limit", "")]
    rows += [
        (c.subject, c.case, f"{c.measured:.2e}", f"{c.limit:.1e}", "ok" if c.passed else "FAILED")
        for c in comparisons
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )

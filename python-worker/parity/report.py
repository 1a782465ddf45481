"""Measured differences and their table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Comparison:
    """One comparison with the reference.

    Attributes:
        subject: what was compared ("unet", "euler karras", ...).
        case: the model or setting.
        measured: the difference, in the unit of the limit.
        limit: the largest acceptable difference.
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
    """Return the largest difference over the largest reference value; inf if shapes differ."""
    if ours.shape != reference.shape:
        return float("inf")
    scale = np.abs(reference).max()
    return float(np.abs(np.asarray(ours, np.float64) - reference).max() / scale)


def relative_rms(ours: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the RMS of the difference over the reference's; inf if shapes differ."""
    if ours.shape != reference.shape:
        return float("inf")
    difference = np.asarray(ours, np.float64) - reference
    return float(np.linalg.norm(difference) / np.linalg.norm(reference))


HEADER = ("", "measured", "limit", "subject", "case")
WIDTHS = (7, 9, 8, 29, 0)


def header() -> str:
    """Return the table's header."""
    return _line(HEADER)


def row(comparison: Comparison) -> str:
    """Format one comparison as a line. Fixed widths allow printing before the next is known."""
    verdict = "ok" if comparison.passed else "FAILED"
    measured, limit = f"{comparison.measured:.2e}", f"{comparison.limit:.1e}"
    return _line((verdict, measured, limit, comparison.subject, comparison.case))


def _line(cells: tuple[str, ...]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return " ".join(padded).rstrip()

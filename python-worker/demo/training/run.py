"""What all stages share: the work folder, the clock, checkpoints and progress lines.

A stage is planned in minutes of work, not in steps, so that the learning rate finishes its decay
on any machine. The checkpoint contains the minutes worked, so that a killed run can resume.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

CHECKPOINT_SECONDS = 240.0
_LINE_SECONDS = 20.0


def work_folder() -> Path:
    """Return the folder of the checkpoints: $EASEL_TRAINING_DIR or ~/.cache/easel-training."""
    named = os.environ.get("EASEL_TRAINING_DIR")
    folder = Path(named) if named else Path.home() / ".cache" / "easel-training"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load(name: str) -> dict[str, Any] | None:
    """Load a saved state from the work folder, or None if it does not exist."""
    path = work_folder() / name
    return torch.load(path, weights_only=True) if path.exists() else None


def save(name: str, state: dict[str, Any]) -> None:
    """Write a state atomically: a kill at any moment leaves the old or the new one."""
    path = work_folder() / name
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


@dataclass
class Clock:
    """Time worked on a stage, across restarts."""

    stage: str
    minutes: float
    step: int = 0
    worked: float = 0.0
    _last: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _told_step: int = -1

    @property
    def progress(self) -> float:
        """The worked share of the planned time, 0..1."""
        return min(1.0, self.worked / (60.0 * self.minutes))

    def tick(self) -> None:
        """Count one step."""
        now = time.monotonic()
        self.worked += now - self._last
        self._last = now
        self.step += 1

    def tell(self, **values: float) -> None:
        """Print a progress line, at most one every 20 seconds."""
        seconds = self._last - self._told
        if seconds < _LINE_SECONDS and self.step > 1:
            return
        pace = seconds / max(1, self.step - self._told_step)
        left = max(0.0, self.minutes - self.worked / 60.0)
        numbers = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        print(
            f"{time.strftime('%H:%M:%S')} {self.stage} step {self.step} {numbers} "
            f"{pace:.3f} s/step {self.progress:.0%} ETA {left:.0f} min",
            flush=True,
        )
        self._told, self._told_step = self._last, self.step

    def checkpoint_due(self) -> bool:
        """Whether to save a checkpoint: about every four minutes and at the end."""
        if self.progress < 1.0 and self._last - self._saved < CHECKPOINT_SECONDS:
            return False
        self._saved = self._last
        return True

    def state(self) -> dict[str, float]:
        """Return the clock's part of a checkpoint."""
        return {"step": self.step, "worked": self.worked}

    def restore(self, state: dict[str, float]) -> None:
        """Restore the clock from a checkpoint."""
        self.step, self.worked = int(state["step"]), float(state["worked"])
        self._told_step = self.step


def flat_then_linear(flat: float, floor: float) -> Callable[[float], float]:
    """Return the learning rate factor by progress: 1 until `flat`, then linear to `floor`."""

    def factor(progress: float) -> float:
        if progress <= flat:
            return 1.0
        return 1.0 - (1.0 - floor) * (progress - flat) / (1.0 - flat)

    return factor

"""Writes tests/goldens/schedulers.npz, from diffusers' own schedulers.

Run with the parity environment: .venv-torch/bin/python -m parity.make_scheduler_goldens
"""

from pathlib import Path

import numpy as np

from parity.diffusers_schedulers import run
from parity.scheduler_cases import MAX_STEPS, cases

TARGET = Path(__file__).parents[1] / "tests/goldens/schedulers.npz"


def main() -> None:
    """For each case the final samples [50, VALUES] and all timesteps in a row, of 1 to 50 steps.

    `Case.in_float64` says for which cases diffusers computes in float64, and why.
    """
    goldens = {}
    for case in cases():
        step_counts = range(1, MAX_STEPS + 1)
        runs = [run(case, steps, float64=case.in_float64) for steps in step_counts]
        goldens[f"{case.name}/timesteps"] = np.concatenate([times for times, _ in runs])
        goldens[f"{case.name}/final"] = np.stack([final for _, final in runs])
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **goldens)
    print(f"{TARGET}: {len(goldens) // 2} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()

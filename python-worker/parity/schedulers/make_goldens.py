"""Writes tests/goldens/schedulers.npz with diffusers' schedulers.

Run with the parity environment: .venv-torch/bin/python -m parity.schedulers.make_goldens
"""

from pathlib import Path

import numpy as np

from parity.schedulers.cases import MAX_STEPS, cases
from parity.schedulers.reference import run

TARGET = Path(__file__).parents[2] / "tests/goldens/schedulers.npz"


def main() -> None:
    """Store for each case the results of 1 to 50 steps.

    They are the final samples [50, VALUES] and the concatenated timesteps. `Case.in_float64` says
    when diffusers computes in float64, and why.
    """
    goldens = {}
    for case in cases():
        step_counts = range(1, MAX_STEPS + 1)
        runs = [run(case, steps, float64=case.in_float64) for steps in step_counts]
        goldens[f"{case.name}/timesteps"] = np.concatenate([each.timesteps for each in runs])
        goldens[f"{case.name}/final"] = np.stack([each.final for each in runs])
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **goldens)
    print(f"{TARGET}: {len(goldens) // 2} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()

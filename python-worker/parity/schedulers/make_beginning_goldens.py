"""Writes tests/goldens/beginnings.npz with diffusers' schedulers. Needs torch.

    python -m parity.schedulers.make_beginning_goldens

They add the noise of images that begin from a picture, and run them from there.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from parity.schedulers.cases import BEGINNINGS, beginning_cases
from parity.schedulers.reference import run

TARGET = Path(__file__).parents[2] / "tests/goldens/beginnings.npz"
PACKAGES = ("torch", "diffusers", "numpy")


def main() -> None:
    """Store for each case the timesteps and all samples of `BEGINNINGS`, one after the other."""
    stamp = {name: version(name) for name in PACKAGES}
    command = {"command": "python -m parity.schedulers.make_beginning_goldens"}
    arrays = {"stamp": np.array(json.dumps(stamp | command))}
    for case in beginning_cases():
        runs = [run(case, *each, float64=case.in_float64) for each in BEGINNINGS]
        arrays[f"{case.name}/timesteps"] = np.concatenate([each.timesteps for each in runs])
        arrays[f"{case.name}/seen"] = np.concatenate([each.seen for each in runs])
        arrays[f"{case.name}/final"] = np.stack([each.final for each in runs])
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{TARGET}: {len(arrays) // 3} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Compares the pixels of the same images, made by two sets of kernels.

    python -m bench.chip.compare ONE.npz OTHER.npz                     (in python-worker/)

Prints one JSON object: for each array of the files, the peak signal-to-noise ratio in dB, or null
where all pixels are equal.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def signal_to_noise(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float | None:
    """The peak signal-to-noise ratio of two images in dB; None if they are equal."""
    error = float(np.mean(np.square(one.astype(np.float64) - other.astype(np.float64))))
    return None if error == 0 else float(10 * np.log10(255**2 / error))


def main() -> None:
    """Compare two files."""
    parser = argparse.ArgumentParser(prog="bench.chip.compare", description=__doc__)
    parser.add_argument("files", type=Path, nargs=2)
    one, other = (np.load(file) for file in parser.parse_args().files)
    print(json.dumps({name: signal_to_noise(one[name], other[name]) for name in one}))


if __name__ == "__main__":
    main()

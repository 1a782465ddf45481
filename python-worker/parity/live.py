"""Compare our SDXL with diffusers and transformers, now, on fresh random checkpoints.

    python -m parity.live [--seed N]

Prints one table; ends with 1 if anything differs more than it may.
"""

import argparse
import secrets
import sys
import warnings
from importlib.metadata import version

from parity import live_components
from parity.report import table

PACKAGES = ("torch", "diffusers", "transformers", "jax")


def main() -> int:
    """Run all comparisons and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**31), help="repeat an earlier run"
    )
    seed = parser.parse_args().seed
    print(f"seed {seed}; " + ", ".join(f"{name} {version(name)}" for name in PACKAGES))
    comparisons = list(live_components.compare(seed))
    print(table(comparisons))
    failed = sum(not c.passed for c in comparisons)
    print(f"{len(comparisons)} comparisons, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    sys.exit(main())

"""Compares our SDXL with diffusers and transformers on fresh random checkpoints.

    python -m parity.live [--seed N] [--model FOLDER | --only PART | --page]

Prints one table; the exit status is 1 if any difference exceeds its limit. `--page` then writes the
differences into the table of families in docs/models.md.
"""

import argparse
import secrets
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from parity import families
from parity.components import live as components
from parity.controls import live as controls
from parity.embeddings import live as embeddings
from parity.ensembles import live as ensembles
from parity.ip_adapters import live as ip_adapters
from parity.loras import live as loras
from parity.pipeline import live as pipeline
from parity.report import Comparison, header, row
from parity.schedulers import live as schedulers
from parity.single_file import live as single_file
from parity.together import live as together
from parity.weights import live as weights

PACKAGES = ("torch", "diffusers", "transformers", "compel", "peft", "lycoris-lora", "jax")

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

SOURCES = {
    "components": components.compare,
    "schedulers": schedulers.compare,
    "pipeline": pipeline.compare,
    "single_file": single_file.compare,
    "weights": weights.compare,
    "loras": loras.compare,
    "embeddings": embeddings.compare,
    "ip_adapters": ip_adapters.compare,
    "controls": controls.compare,
    "ensembles": ensembles.compare,
    "together": together.compare,
}
"""All comparisons, by the names of their folders; each takes the seed of its random values."""


def compare(seed: int, model: Path | None, only: str | None) -> Iterator[Comparison]:
    """Run all comparisons, those of one model folder, or one of `SOURCES`."""
    if model is not None:
        yield from components.compare_folder(model, seed)
        yield from pipeline.compare_folder(model, seed)
        return
    for name, source in SOURCES.items():
        if only in (None, name):
            yield from source(seed)


def main() -> int:
    """Run the comparisons and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seed", type=int, help="seed of an earlier run to repeat; random by default"
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--model", type=Path, help="compare this diffusers folder instead")
    part.add_argument("--only", choices=SOURCES, help="run one part of the comparisons")
    part.add_argument("--page", action="store_true", help="write the families of docs/models.md")
    arguments = parser.parse_args()
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    _silence_progress()
    print(f"seed {seed}; " + ", ".join(f"{name} {version(name)}" for name in PACKAGES), flush=True)
    print(header())
    made = []
    for comparison in compare(seed, arguments.model, arguments.only):
        print(row(comparison), flush=True)
        made.append(comparison)
    failed = sum(not comparison.passed for comparison in made)
    largest = max((each.measured for each in made if families.IMAGES in each.subject), default=0)
    print(f"{len(made)} comparisons, {failed} failed; images within {largest:.0f}/255")
    if failed:
        return 1
    if arguments.page:
        PAGE.write_text(families.insert(PAGE.read_text(), _families(made, seed)))
    return 0


def _families(made: list[Comparison], seed: int) -> str:
    """The table of families, and the run that made it."""
    run = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{families.table(made)}\n"
        f"Written by `npm run test:parity -- --page`: {len(made)} comparisons, seed {seed}.\n"
        f"{run}.\n"
    )


def _silence_progress() -> None:
    """Keep the libraries' progress bars and hints away from the table."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())

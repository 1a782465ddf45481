"""Random traffic for any length of time: checks that images do not depend on each other.

    python -m tests.soak_company [--model FOLDER] [--schedules N] [--seed N] [--batch-lanes 1,2,4]

Prints one table. Ends with 1 if an image differs, or a request ends as it should not. With
--batch-lanes other than 1 a value may be off by one, and the table says how many are.
"""

import argparse
import random
import secrets
import sys
import time
from pathlib import Path

from easel_worker import options
from easel_worker.engine import Tokens
from easel_worker.sdxl.folder.tokenizer_files import TokenizerFiles, read_tokenizer
from easel_worker.sdxl.serving.compilation import cache_programs_in
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from tests.support.company import Company, Repertoire, Tally

ROOT = Path(__file__).parents[2]
EXACT = (1,)
PROMPTS = 4
MOST_WORDS = 12
SHOWN = 20


def main() -> int:
    """Play the schedules and print the results."""
    asked = _arguments()
    seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
    cache_programs_in(ROOT / ".cache" / "compile")
    exact = engine = _engine(asked.model)
    if asked.batch_lanes != EXACT:
        engine = _engine(asked.model, asked.batch_lanes)
    repertoire = _repertoire(exact, asked.model)
    company = Company(engine, repertoire, alone=exact, tolerance=int(engine is not exact))
    start = time.monotonic()
    for number in range(asked.schedules):
        company.play(seed + number)
    for line in company.tally.wrong[:SHOWN]:
        print(line)
    print(_table(company.tally, time.monotonic() - start, f"{asked.model}, seed {seed}"))
    return 1 if company.tally.wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models/demo", help="(the demo model)")
    parser.add_argument("--schedules", type=int, default=300, help="how many to play (300)")
    parser.add_argument("--seed", type=int, help="repeat an earlier run; by default a random one")
    parser.add_argument("--batch-lanes", type=options.counts, default=EXACT, help="as the worker's")
    return parser.parse_args()


def _engine(folder: Path, batch_lanes: tuple[int, ...] = EXACT) -> SdxlEngine:
    engine = SdxlEngine(
        folder, Options(batch_lanes=batch_lanes, max_prompt_chunks=1, image_inputs=False)
    )
    engine.warm(lambda line: print(line, file=sys.stderr))
    return engine


def _repertoire(engine: SdxlEngine, folder: Path) -> Repertoire:
    can = engine.capabilities
    tokenizers = [read_tokenizer(folder / name) for name in ("tokenizer", "tokenizer_2")]
    prompts = [_prompt(tokenizers, random.Random(number)) for number in range(PROMPTS)]
    return Repertoire(prompts, can.sizes, can.schedulers)


def _prompt(tokenizers: list[TokenizerFiles], rng: random.Random) -> Tokens:
    """A text of random words."""
    smallest = min(tokenizer.size for tokenizer in tokenizers)
    words = tuple(rng.choices(range(smallest - 2), k=rng.randint(0, MOST_WORDS)))
    start_and_rest = [(t.empty[:1], t.empty[1:], len(t.empty)) for t in tokenizers]
    ids, ids_2 = ((*start, *words, *rest)[:length] for start, rest, length in start_and_rest)
    return Tokens(ids, ids_2)


def _table(tally: Tally, seconds: float, what: str) -> str:
    share = tally.different / max(tally.values, 1)
    cells = {
        "schedules": f"{tally.schedules}",
        "images compared": f"{tally.images}",
        "requests cut short": f"{tally.cut_short}",
        "values that differ": f"{tally.different} of {tally.values} ({share:.1e})",
        "largest difference": f"{tally.largest} of 255",
        "complaints": f"{len(tally.wrong)}",
        "time": f"{seconds:.0f} s",
    }
    lines = "\n".join(f"{name:<19} {value}" for name, value in cells.items())
    return f"neighbours: {what}\n{lines}"


if __name__ == "__main__":
    sys.exit(main())

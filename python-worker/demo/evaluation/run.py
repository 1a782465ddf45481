"""The evaluation's shared command line: its options and what it prints."""

import argparse
import time
from pathlib import Path

from demo.evaluation.held_out import SEED, held_out_captions
from demo.evaluation.report import Generate, evaluate
from demo.evaluation.service import save_png


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --count, --seed and --sheet."""
    parser.add_argument("--count", type=int, default=200, help="how many captions")
    parser.add_argument("--seed", type=int, default=SEED, help="which captions")
    parser.add_argument("--sheet", type=Path, default=Path("eval-demo.png"), help="contact sheet")


def run(generate: Generate, options: argparse.Namespace) -> int:
    """Print the table, the mistakes and the speed; return 0 if every target is reached, else 1."""
    started = time.monotonic()
    report = evaluate(generate, held_out_captions(options.count, options.seed))
    seconds = (time.monotonic() - started) / options.count
    save_png(report.contact_sheet(), options.sheet)
    print(report.table())
    if mistakes := report.mistakes():
        print(f"\nWrong (row.column on the sheet):\n{mistakes}")
    print(f"\n{seconds:.2f} s per picture; contact sheet: {options.sheet}")
    return 0 if report.meets_targets() else 1

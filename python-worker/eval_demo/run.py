"""What every way to run the evaluation shares: its options and what it prints."""

import argparse
import time
from pathlib import Path

from eval_demo.held_out import held_out_captions
from eval_demo.report import Generate, evaluate
from eval_demo.service import save_png


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --count and --sheet."""
    parser.add_argument("--count", type=int, default=200, help="how many captions")
    parser.add_argument("--sheet", type=Path, default=Path("eval-demo.png"), help="contact sheet")


def run(generate: Generate, count: int, sheet: Path) -> int:
    """Prints the table, the mistakes and the pace; 0 when every target is reached, else 1."""
    started = time.monotonic()
    report = evaluate(generate, held_out_captions(count))
    seconds = (time.monotonic() - started) / count
    save_png(report.contact_sheet(), sheet)
    print(report.table())
    if mistakes := report.mistakes():
        print(f"\nwrong (row.column on the sheet):\n{mistakes}")
    print(f"\n{seconds:.2f} s a picture; contact sheet: {sheet}")
    return 0 if report.meets_targets() else 1

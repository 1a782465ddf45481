"""`python -m demo.evaluation --url http://127.0.0.1:8000`: prints the table, writes the sheet."""

import argparse
import sys

from demo.evaluation.run import add_options, run
from demo.evaluation.service import from_service


def main() -> int:
    """Run the evaluation; the exit code is 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="a running gateway")
    add_options(parser)
    options = parser.parse_args()
    return run(from_service(options.url), options)


if __name__ == "__main__":
    sys.exit(main())

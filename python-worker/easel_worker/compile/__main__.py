"""`python -m easel_worker.compile`: see the package."""

import sys

from easel_worker.compile import command


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(command.main(sys.argv[1:]))


if __name__ == "__main__":
    main()

"""`python -m easel_worker.compile`: see the package."""

import sys

from easel_worker.compile.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

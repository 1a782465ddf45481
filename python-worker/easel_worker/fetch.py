"""Fetches a model from the Hugging Face hub: `python -m easel_worker.fetch org/name[@revision]`."""

import argparse
import sys
from pathlib import Path

from easel_worker.sdxl.folder.fetch_errors import explain
from easel_worker.sdxl.folder.hub import HubError, HubModel, fetch


def main() -> None:
    """Fetch what the command line says; exit with 1 and one line if that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="easel-fetch",
        description="Fetches what Easel reads of an SDXL model from the Hugging Face hub: "
        "settings, tokenizers and weights, those in fp16 where the model has them. Goes on where "
        "it was cut off; does nothing where the folder is there.",
        epilog="The hub's own variables hold, such as HF_TOKEN for models that need a login, and "
        "HF_ENDPOINT for another hub.",
    )
    parser.add_argument(
        "model", help="org/name, or org/name@revision; a commit is best, as it never changes"
    )
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="folder to make")
    arguments = parser.parse_args()
    try:
        model = HubModel.parse(arguments.model)
    except HubError as error:
        sys.exit(f"easel-fetch: {error}")
    try:
        fetch(model, arguments.to, lambda line: print(line, flush=True))
    except Exception as error:  # noqa: BLE001 - the hub's client and the network have many
        sys.exit(f"easel-fetch: {explain(error, model, arguments.to)}")


if __name__ == "__main__":
    main()

"""Fetches a model from the Hugging Face hub: `python -m easel_worker.fetch org/name[@revision]`."""

import argparse
import sys
from pathlib import Path

from easel_worker.sdxl.folder.fetch_errors import explain
from easel_worker.sdxl.folder.hub import HubModel, fetch
from easel_worker.sdxl.folder.hub_files import HubError


def main() -> None:
    """Fetch the model named on the command line. Exits with 1 and one line on failure."""
    parser = argparse.ArgumentParser(
        prog="easel-fetch",
        description="Fetches the files that Easel reads of an SDXL model from the Hugging Face "
        "hub: configs, tokenizers and weights (fp16 if the model has them). Resumes an interrupted "
        "fetch. Does nothing if the folder exists.",
        epilog="The hub's environment variables apply, such as HF_TOKEN for models that need a "
        "login and HF_ENDPOINT for another hub.",
    )
    parser.add_argument(
        "model",
        help="org/name or org/name/file.safetensors, and @revision after it; prefer a commit, "
        "which never changes",
    )
    parser.add_argument(
        "--component",
        choices=("vae", "unet"),
        help="fetch only this component, to replace that of another model",
    )
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="folder to create")
    arguments = parser.parse_args()
    try:
        model = HubModel.parse(arguments.model)
    except HubError as error:
        sys.exit(f"easel-fetch: {error}")
    try:
        fetch(
            model,
            arguments.to,
            lambda line: print(line, flush=True),
            component=arguments.component,
        )
    except Exception as error:  # noqa: BLE001 - the hub's client and the network raise many types
        sys.exit(f"easel-fetch: {explain(error, model, arguments.to)}")


if __name__ == "__main__":
    main()

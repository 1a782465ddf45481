"""The command line. Its prompts are token ids, made by the gateway's tokenizers."""

import argparse
import json
import sys
from pathlib import Path

import jax

from easel_worker import parse
from easel_worker.calibrate.images import calibrate
from easel_worker.engine import Tokens
from easel_worker.options import add_flags, declared, values_of
from easel_worker.sdxl.quantization import calibration
from easel_worker.sdxl.serving.options import Options


def main() -> None:
    """Make images and write the file. On failure print one line and exit with 1."""
    parser = argparse.ArgumentParser(
        prog="easel-calibrate",
        description="Make images with a model and write how large the inputs of the layers get "
        "that --quantization int8 rounds. `npm run calibrate` tokenizes the prompts. A "
        "full-size model needs an accelerator.",
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="a diffusers folder or a single file"
    )
    parser.add_argument(
        "--tokens", type=Path, required=True, help='prompts: JSON, a list of {"ids", "ids_2"}'
    )
    parser.add_argument("--to", type=Path, help=f"file (default: {calibration.FILE} of the model)")
    parser.add_argument(
        "--steps", type=parse.positive, help="steps of each image (default: the model's)"
    )
    settings = declared(Options, "dtype")
    add_flags(parser, settings)
    chosen = parser.parse_args()
    try:
        if chosen.to is None and chosen.model.is_file():
            raise ValueError("--to is missing: a single file has no folder for its calibration")
        read = json.loads(chosen.tokens.read_text(encoding="utf-8"))
        texts = [Tokens(tuple(each["ids"]), tuple(each["ids_2"])) for each in read]
        given = values_of(settings, vars(chosen), environment={})
        options = Options(
            **given, devices=jax.devices()[:1], max_prompt_chunks=1, image_inputs=False
        )
        largest = calibrate(chosen.model, texts, options, chosen.steps, _say)
        file = chosen.to or chosen.model / calibration.FILE
        calibration.write(file, largest)
    except (ValueError, KeyError, OSError) as error:
        sys.exit(f"easel-calibrate: {error}")
    _say(f"wrote {file}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()

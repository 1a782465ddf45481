"""All training stages: `python -m demo.training`. Skips finished stages, resumes a killed one."""

import argparse
from pathlib import Path

from demo.training import text, unet, vae, vocabulary
from demo.training.export import export, trained_parts


def main() -> None:
    """Run every stage in turn and write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("../models/demo"), help="output folder")
    parser.add_argument("--vae-minutes", type=float, default=30.0)
    parser.add_argument("--text-minutes", type=float, default=4.0)
    parser.add_argument("--unet-minutes", type=float, default=100.0)
    options = parser.parse_args()
    vocabulary.write_tokenizers(options.model)
    vae.train(options.vae_minutes)
    text.train(options.text_minutes, options.model)
    unet.train(options.unet_minutes, options.model)
    export(trained_parts(options.model), options.model, options.model)
    print(f"{options.model} is ready: python -m demo.training.evaluate {options.model}")


if __name__ == "__main__":
    main()

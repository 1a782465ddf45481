"""Writes tests/goldens/embeddings.npz: an image by diffusers, with its encoded prompts.

python -m parity.embeddings.make_goldens

Needs torch and peft.
"""

from pathlib import Path

from parity import golden_images
from parity.embeddings import reference as libraries
from parity.embeddings.cases import GOLDEN_CASE, IMAGE

TARGET = Path(__file__).parents[2] / "tests/goldens/embeddings.npz"
PACKAGES = (*golden_images.PACKAGES, "peft")


def main() -> None:
    """Write the golden file."""
    image, prompts = libraries.run(GOLDEN_CASE, golden_images.models_of(IMAGE.model))
    arrays = golden_images.reported([("image", image)])
    encoded = {f"prompt {i}": each for i, each in enumerate(prompts)}
    golden_images.write(TARGET, __spec__.name, arrays | encoded, packages=PACKAGES)


if __name__ == "__main__":
    main()

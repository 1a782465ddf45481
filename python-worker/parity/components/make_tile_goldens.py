"""Writes diffusers' output of tiled decoding, for the tests. Needs torch.

python -m parity.components.make_tile_goldens
"""

from importlib.metadata import version

import numpy as np

from parity import reference, synthetic
from parity.cases import CASES
from parity.components import tiles
from parity.components.make_goldens import FOLDER, INPUT_SEED, PACKAGES


def main() -> None:
    """Write the file, with the weights of the case's other golden file."""
    case = next(case for case in CASES if case.name == tiles.CASE)
    model = reference.build(case)["vae"]
    reference.fill(
        model,
        lambda name, shape: (
            synthetic.weight(name, shape, case.gain).astype(case.stored).astype(np.float32)
        ),
    )
    latents = tiles.latents(INPUT_SEED)
    stamp = [f"{name} {version(name)}" for name in PACKAGES]
    np.savez_compressed(
        FOLDER.parent / tiles.FILE,
        stamp=np.array([*stamp, "python -m parity.components.make_tile_goldens"]),
        latents=latents,
        image=reference.decode_in_tiles(model, latents, tiles.TILE),
    )


if __name__ == "__main__":
    main()

"""Evaluation captions: combinations that training never saw."""

import numpy as np

from demo.scenes.captions import Caption, caption
from demo.scenes.sampling import held_out_scene

SEED = 20_261


def held_out_captions(count: int = 200, seed: int = SEED) -> list[Caption]:
    """Return the first `count` distinct captions, alternating between one and two objects.

    The result depends only on the arguments. Choose settings on captions of another seed, so that
    these stay unseen.
    """
    rng = np.random.default_rng(seed)
    captions: dict[str, Caption] = {}
    while len(captions) < count:
        scene = held_out_scene(rng, pair_share=float(len(captions) % 2))
        said = caption(scene, rng, complete=True)
        captions.setdefault(said.text, said)
    return list(captions.values())

"""The captions of the evaluation: combinations that training never saw."""

import numpy as np

from demo.scenes.captions import Caption, caption
from demo.scenes.sampling import held_out_scene

SEED = 20_261


def held_out_captions(count: int = 200, seed: int = SEED) -> list[Caption]:
    """The first `count` captions, all different: one object and two in turn. Always the same.

    Another seed gives others to choose settings by, so that these stay unseen until the end.
    """
    rng = np.random.default_rng(seed)
    captions: dict[str, Caption] = {}
    while len(captions) < count:
        scene = held_out_scene(rng, pair_share=float(len(captions) % 2))
        said = caption(scene, rng, complete=True)
        captions.setdefault(said.text, said)
    return list(captions.values())

"""The names of tensors in a LoRA's file: each names a layer of the model, and a part of a change.

There are three families. PEFT's and diffusers' names have dots (`unet.down_blocks.…to_q.lora_A.
weight`; older ones `….processor.to_q_lora.down.weight`). kohya's have underscores for the layer
(`lora_unet_down_blocks_…to_q.lora_down.weight`), and LyCORIS adds parts to kohya's (`hada_w1_a`).
https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/loaders/lora_conversion_utils.py#L152
https://github.com/KohakuBlueleaf/LyCORIS/blob/v4.1.3/lycoris/modules/lokr.py
"""

import re
from typing import NamedTuple

DOWN, UP, MID, ALPHA, UP_BIAS = "down", "up", "mid", "alpha", "up_bias"
MAGNITUDE, DORA_SCALE = "magnitude", "dora_scale"
DIFF, DIFF_BIAS, NORM, NORM_BIAS = "diff", "diff_b", "w_norm", "b_norm"
HADA_1A, HADA_1B, HADA_2A, HADA_2B = "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"
HADA_T1, HADA_T2 = "hada_t1", "hada_t2"
LOKR_1, LOKR_1A, LOKR_1B = "lokr_w1", "lokr_w1_a", "lokr_w1_b"
LOKR_2, LOKR_2A, LOKR_2B, LOKR_T2 = "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"

_SAME = (
    *(ALPHA, DORA_SCALE, DIFF, DIFF_BIAS, NORM, NORM_BIAS),
    *(HADA_1A, HADA_1B, HADA_2A, HADA_2B, HADA_T1, HADA_T2),
    *(LOKR_1, LOKR_1A, LOKR_1B, LOKR_2, LOKR_2A, LOKR_2B, LOKR_T2),
)
"""Parts that files name as we do."""

_ENDINGS = (
    (r"\.lora_A(\.default)?\.weight", DOWN),
    (r"\.lora_B(\.default)?\.weight", UP),
    (r"\.lora_B(\.default)?\.bias", UP_BIAS),
    (r"\.lora_magnitude_vector(\.default)?(\.weight)?", MAGNITUDE),
    (r"\.lora_(down|mid|up)\.weight", None),
    (r"[._]lora\.(down|up)\.weight", None),
    (r"\.lora_linear_layer\.(down|up)\.weight", None),
    (rf"\.({'|'.join(_SAME)})", None),
)
"""Endings of names, and the part that each means; None for the part in its first group."""

_PARTS = tuple((re.compile(rf"(?P<layer>.+?){ending}"), part) for ending, part in _ENDINGS)


class Key(NamedTuple):
    """What a tensor's name says: the layer as the file spells it, and the part of its change."""

    layer: str
    part: str


def read_key(name: str) -> Key | None:
    """Take a tensor's name apart; None if it is not the name of a part of a change."""
    for pattern, part in _PARTS:
        if found := pattern.fullmatch(name):
            return Key(found["layer"], part or str(found[2]))
    return None

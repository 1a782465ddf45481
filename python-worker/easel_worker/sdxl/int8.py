"""Linear layers in 8-bit integers, weights and activations, with scales that are fixed beforehand.

    y = (round(x · gain) @ int8) · step + bias

`gain` [in] is one over the size of a step of each input channel. Some channels of a transformer are
far larger than others; what a channel's step takes more of the activations' range, its weights take
less of theirs (SmoothQuant, https://arxiv.org/abs/2211.10438). `step` [out] is the size of a step
of each output. The activations' range comes from a calibration (`calibration.py`), so nothing has
to be looked at twice while an image is made.

Quantised are the linear layers that tokens go through at each step: queries, keys, values and
outputs of self attention, queries and outputs of cross attention, and the feed-forward layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from easel_worker.sdxl.params import Params, ParamTree

LARGEST = 127
"""As far as steps go, in both directions."""

SMOOTHING = 0.5
"""Which share of a channel's size the weights take over: 0 is none, 1 is all."""

_SMALLEST = 1e-5
"""Of a layer's largest input: a channel that was never seen to move is taken for so large."""


def is_int8(linear: Params) -> bool:
    """Whether a linear layer is quantised."""
    return "int8" in linear


def nearest(x: Array) -> Array:
    """float32 in steps → int8; what is out of range goes to its end."""
    return jnp.clip(jnp.round(x), -LARGEST, LARGEST).astype(jnp.int8)


def linear(params: Params, x: Array) -> Array:
    """x [..., in] → [..., out], for a quantised layer; in the dtype of x."""
    steps = nearest(x.astype(jnp.float32) * params["gain"])
    contract = (((x.ndim - 1,), (0,)), ((), ()))
    sums = lax.dot_general(steps, params["int8"], contract, preferred_element_type=jnp.int32)
    y = sums.astype(jnp.float32) * params["step"]
    if "bias" in params:
        y += params["bias"].astype(jnp.float32)
    result: Array = y.astype(x.dtype)
    return result


def shared_inputs(unet: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The linear layers to quantise, those with the same input together.

    Args:
        unet: declarations or parameters, as `unet.declare` structures them.
    """
    for level in (*unet["down"], unet["mid"], *unet["up"]):
        for transformer in level["attentions"]:
            for block in transformer["blocks"]:
                own, cross = block["attn1"], block["attn2"]
                yield [own["to_q"], own["to_k"], own["to_v"]]
                for layer in (own["to_out"], cross["to_q"], cross["to_out"]):
                    yield [layer]
                yield [block["ff_in"]]
                yield [block["ff_out"]]


def input_names(tree: ParamTree) -> list[str]:
    """A name for each of `shared_inputs`: that of the first layer in the checkpoint."""
    weights = (layers[0]["weight"] for layers in shared_inputs(tree))
    return [weight.name.removesuffix(".weight") for weight in weights]


def quantise(params: Params, largest: Sequence[ArrayLike]) -> Params:
    """A UNet's parameters with the layers of `shared_inputs` in 8 bits.

    Args:
        params: of the UNet, on the devices or abstract (under `jax.eval_shape`).
        largest: for each of `shared_inputs` the largest absolute value of its channels, [in].

    Returns:
        The same tree; a quantised layer is {"int8": [in, out], "gain": [in], "step": [out]} with
        its bias, if it had one.
    """
    made: dict[int, Params] = {}
    for layers, size in zip(shared_inputs(params), largest, strict=True):
        made |= zip(map(id, layers), _quantise(layers, size), strict=True)
    replaced: Params = replace(params, made)
    return replaced


@jax.jit
def _quantise(layers: list[Params], largest: ArrayLike) -> list[Params]:
    """Layers that share an input, which then has one gain for all of them."""
    weights = [layer["weight"].astype(jnp.float32) for layer in layers]
    inputs = jnp.asarray(largest, jnp.float32)
    inputs = jnp.maximum(inputs, jnp.maximum(jnp.max(inputs) * _SMALLEST, _SMALLEST))
    rows = jnp.stack([jnp.max(jnp.abs(weight), axis=1) for weight in weights])
    rows = jnp.maximum(jnp.max(rows, axis=0), _SMALLEST)
    taken = inputs**SMOOTHING / rows ** (1.0 - SMOOTHING)
    input_step = jnp.max(inputs / taken) / LARGEST
    gain = 1.0 / (taken * input_step)
    return [
        _layer(layer, weight * taken[:, None], gain, input_step)
        for layer, weight in zip(layers, weights, strict=True)
    ]


def _layer(layer: Params, weight: Array, gain: Array, input_step: Array) -> Params:
    weight_step = jnp.maximum(jnp.max(jnp.abs(weight), axis=0), _SMALLEST**2) / LARGEST
    rest = {name: value for name, value in layer.items() if name != "weight"}
    steps = {"int8": nearest(weight / weight_step), "gain": gain, "step": input_step * weight_step}
    return rest | steps


def replace(tree: Any, made: Mapping[int, Params]) -> Any:
    """A tree with some of its dicts replaced, named by their `id`."""
    if isinstance(tree, dict):
        return made.get(id(tree)) or {name: replace(each, made) for name, each in tree.items()}
    if isinstance(tree, list):
        return [replace(each, made) for each in tree]
    return tree

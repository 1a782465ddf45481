"""Which of the UNet's layers `int8` quantises, and which of them share an input.

These are the linear layers that run on image tokens at every step: to_q, to_k, to_v and to_out of
self attention, to_q and to_out of cross attention, and the feed-forward layers. Of the
convolutions, these are those of the residual blocks below full resolution: at full resolution they
would make most of the drift (docs/adr/0012-int8.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.typing import ArrayLike

from easel_worker.sdxl.model.attention import Block
from easel_worker.sdxl.model.params import Tree
from easel_worker.sdxl.model.resnet import Resnet
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import scales
from easel_worker.sdxl.quantization.scales import Plain, Steps

Change = Callable[[list[Any]], Sequence[Any]]
"""Replaces layers that share an input: see `Block.replaced` and `Resnet.replaced`."""


def replaced(tree: Tree, change: Change) -> Tree:
    """Replace the layers to quantise of a model or of a part of one.

    Args:
        tree: contains transformer blocks and residual blocks at any depth.
        change: called with layers in the tree's order.
    """

    kept = _at_full_resolution(tree)

    def block(node: Any) -> Any:
        replaces = isinstance(node, Block | Resnet) and id(node) not in kept
        return node.replaced(change) if replaces else node

    made: Tree = jax.tree.map(block, tree, is_leaf=lambda node: isinstance(node, Block | Resnet))
    return made


def _at_full_resolution(tree: Any) -> set[int]:
    """The residual blocks of a UNet that keep their convolutions, by `id`."""
    levels = (tree.down[0], tree.up[0]) if isinstance(tree, UNet) else ()
    return {id(resnet) for level in levels for resnet in level.resnets}


def shared_inputs(tree: Any) -> list[list[Plain]]:
    """The layers to quantise, grouped by input. They hold arrays or declarations."""
    found: list[list[Plain]] = []

    def note(layers: list[Plain]) -> list[Plain]:
        found.append(layers)
        return layers

    replaced(tree, note)
    return found


def input_names(tree: Any) -> list[str]:
    """The names of a declaration's `shared_inputs`: each is the name of its first layer."""
    weights: list[Any] = [layers[0].weight for layers in shared_inputs(tree)]
    return [weight.name.removesuffix(".weight") for weight in weights]


def quantised_weights(tree: Any, largest: Sequence[ArrayLike]) -> list[list[Steps]]:
    """The weights of `shared_inputs` quantised, in the same groups. See `quantise`."""
    pairs = zip(shared_inputs(tree), largest, strict=True)
    return [scales.steps_of([layer.weight for layer in layers], size) for layers, size in pairs]


def quantise(tree: Tree, largest: Sequence[ArrayLike]) -> Tree:
    """Quantise the layers of `shared_inputs`.

    Args:
        tree: a model of arrays, or an abstract one under `jax.eval_shape`.
        largest: for each of `shared_inputs`, the largest absolute value of each channel, [in].
    """
    return with_weights(tree, quantised_weights(tree, largest))


def with_weights(tree: Tree, made: Sequence[Sequence[Steps]]) -> Tree:
    """Put quantised weights in the places of `shared_inputs`."""
    groups = iter(made)

    def change(layers: list[Plain]) -> list[scales.Quantised]:
        return [steps.of(layer) for steps, layer in zip(next(groups), layers, strict=True)]

    return replaced(tree, change)

"""Which of the UNet's layers `int8` quantises, and which of them share an input.

These are the linear layers that run on image tokens at every step: to_q, to_k, to_v and to_out of
self attention, to_q and to_out of cross attention, and the feed-forward layers.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.typing import ArrayLike

from easel_worker.sdxl.model.attention import Block, Change
from easel_worker.sdxl.model.int8 import Int8Linear
from easel_worker.sdxl.model.layers import Linear
from easel_worker.sdxl.model.params import Tree
from easel_worker.sdxl.quantization import linears


def replaced(tree: Tree, change: Change) -> Tree:
    """Replace the layers to quantise of a model or of a part of one.

    Args:
        tree: contains transformer blocks at any depth.
        change: see `Block.replaced`. The blocks come in the tree's order.
    """

    def block(node: Any) -> Any:
        return node.replaced(change) if isinstance(node, Block) else node

    made: Tree = jax.tree.map(block, tree, is_leaf=lambda node: isinstance(node, Block))
    return made


def shared_inputs(tree: Any) -> list[list[Linear]]:
    """The layers to quantise, grouped by input. They hold arrays or declarations."""
    found: list[list[Linear]] = []

    def note(layers: list[Linear]) -> list[Linear]:
        found.append(layers)
        return layers

    replaced(tree, note)
    return found


def input_names(tree: Any) -> list[str]:
    """The names of a declaration's `shared_inputs`: each is the name of its first layer."""
    weights: list[Any] = [layers[0].weight for layers in shared_inputs(tree)]
    return [weight.name.removesuffix(".weight") for weight in weights]


def quantised_layers(tree: Any, largest: Sequence[ArrayLike]) -> list[list[Int8Linear]]:
    """The layers of `shared_inputs` quantised, in the same groups. See `quantise`."""
    pairs = zip(shared_inputs(tree), largest, strict=True)
    return [linears.quantise(layers, size) for layers, size in pairs]


def quantise(tree: Tree, largest: Sequence[ArrayLike]) -> Tree:
    """Quantise the layers of `shared_inputs`.

    Args:
        tree: a model of arrays, or an abstract one under `jax.eval_shape`.
        largest: for each of `shared_inputs`, the largest absolute value of each channel, [in].
    """
    made = iter(quantised_layers(tree, largest))
    return replaced(tree, lambda _: next(made))

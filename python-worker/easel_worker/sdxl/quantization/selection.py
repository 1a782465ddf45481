"""Which of the UNet's layers `int8` quantises, and which of them share an input.

They are the linear layers that tokens go through at each step: queries, keys, values and outputs of
self attention, queries and outputs of cross attention, and the feed-forward layers.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.typing import ArrayLike

from easel_worker.sdxl.model.attention import Block, Change
from easel_worker.sdxl.model.layers import Linear
from easel_worker.sdxl.model.params import Tree
from easel_worker.sdxl.quantization import linears


def replaced(tree: Tree, change: Change) -> Tree:
    """A model, or a part of one, with other layers in the place of those to quantise.

    Args:
        tree: has transformer blocks anywhere in it.
        change: see `Block.replaced`; the blocks come in the order of the tree.
    """

    def block(node: Any) -> Any:
        return node.replaced(change) if isinstance(node, Block) else node

    made: Tree = jax.tree.map(block, tree, is_leaf=lambda node: isinstance(node, Block))
    return made


def shared_inputs(tree: Any) -> list[list[Linear]]:
    """The layers to quantise, those with the same input together; of arrays or declarations."""
    found: list[list[Linear]] = []

    def note(layers: list[Linear]) -> list[Linear]:
        found.append(layers)
        return layers

    replaced(tree, note)
    return found


def input_names(tree: Any) -> list[str]:
    """A name for each of a declaration's `shared_inputs`: that of its first layer."""
    weights: list[Any] = [layers[0].weight for layers in shared_inputs(tree)]
    return [weight.name.removesuffix(".weight") for weight in weights]


def quantise(tree: Tree, largest: Sequence[ArrayLike]) -> Tree:
    """A model with the layers of `shared_inputs` in 8 bits.

    Args:
        tree: on the devices or abstract (under `jax.eval_shape`).
        largest: for each of `shared_inputs` the largest absolute value of its channels, [in].
    """
    pairs = zip(shared_inputs(tree), largest, strict=True)
    made = iter([linears.quantise(layers, size) for layers, size in pairs])
    return replaced(tree, lambda _: next(made))

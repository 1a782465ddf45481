"""Declarations of parameters: each tensor of a checkpoint is described once, by a `Param`.

A model part (`unet.declare`, `vae.declare`, ...) returns a tree of nested dicts and lists with a
`Param` at every leaf. Random initialisation, abstract shapes and strict loading are all
derived from that tree (see `weights.py`), and the arrays that the model functions take have
the same structure.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import jax
from numpy.typing import NDArray

ParamTree = dict[str, Any]
"""Nested dicts and lists with a `Param` at every leaf."""

Params = dict[str, Any]
"""The same structure with a `jax.Array` at every leaf."""


class Layout(Enum):
    """How a tensor in a PyTorch checkpoint becomes the array we compute with."""

    SAME = "as stored"
    LINEAR = "[out, in] becomes [in, out]"
    CONV = "[out, in, height, width] becomes [height, width, in, out]"
    POINTWISE = "[out, in, 1, 1] becomes [in, out]"

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that `arrange` gives a tensor of the stored shape."""
        match self:
            case Layout.SAME:
                return stored
            case Layout.CONV:
                out, inputs, height, width = stored
                return (height, width, inputs, out)
            case Layout.LINEAR | Layout.POINTWISE:
                return (stored[1], stored[0])

    def arrange(self, stored: NDArray[Any]) -> NDArray[Any]:
        """A view of a stored tensor in our layout."""
        match self:
            case Layout.SAME:
                return stored
            case Layout.LINEAR:
                return stored.T
            case Layout.CONV:
                return stored.transpose(2, 3, 1, 0)
            case Layout.POINTWISE:
                return stored[:, :, 0, 0].T


class Init(Enum):
    """What a fresh parameter holds before any training."""

    NORMAL = "normal, variance 1 / fan-in"
    ONES = "ones"
    ZEROS = "zeros"


@dataclass(frozen=True)
class Param:
    """One tensor of a checkpoint, and how we hold it.

    Attributes:
        name: the tensor's name in a diffusers or transformers checkpoint.
        stored: its shape there.
        layout: how it is laid out differently here.
        init: what a fresh one holds.
        aliases: other names under which checkpoints of other library versions hold it.
    """

    name: str
    stored: tuple[int, ...]
    layout: Layout
    init: Init
    aliases: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of our array."""
        return self.layout.shape(self.stored)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.stored)

    @property
    def fan_in(self) -> int:
        """How many inputs each output element sums over."""
        return math.prod(self.stored[1:])


def linear(
    name: str,
    inputs: int,
    outputs: int,
    *,
    bias: bool = True,
    stored_as_conv: bool = False,
    former_name: str | None = None,
) -> ParamTree:
    """A linear layer's weight [inputs, outputs] and bias [outputs].

    Args:
        name: the layer's name in the checkpoint.
        inputs: features in.
        outputs: features out.
        bias: whether there is a bias.
        stored_as_conv: the checkpoint holds a 1×1 convolution, which is the same thing.
        former_name: the layer's name in checkpoints of older library versions.
    """
    layout = Layout.POINTWISE if stored_as_conv else Layout.LINEAR
    stored = (outputs, inputs, 1, 1) if stored_as_conv else (outputs, inputs)
    former = () if former_name is None else (former_name,)

    def param(leaf: str, shape: tuple[int, ...], how: Layout, init: Init) -> Param:
        return Param(f"{name}.{leaf}", shape, how, init, tuple(f"{n}.{leaf}" for n in former))

    tree = {"weight": param("weight", stored, layout, Init.NORMAL)}
    if bias:
        tree["bias"] = param("bias", (outputs,), Layout.SAME, Init.ZEROS)
    return tree


def conv(name: str, inputs: int, outputs: int, kernel: int) -> ParamTree:
    """A convolution's weight [kernel, kernel, inputs, outputs] and bias [outputs]."""
    stored = (outputs, inputs, kernel, kernel)
    return {
        "weight": Param(f"{name}.weight", stored, Layout.CONV, Init.NORMAL),
        "bias": Param(f"{name}.bias", (outputs,), Layout.SAME, Init.ZEROS),
    }


def norm(name: str, features: int) -> ParamTree:
    """A group or layer norm's weight and bias, [features] each."""
    return {
        "weight": Param(f"{name}.weight", (features,), Layout.SAME, Init.ONES),
        "bias": Param(f"{name}.bias", (features,), Layout.SAME, Init.ZEROS),
    }


def embedding(name: str, rows: int, features: int) -> ParamTree:
    """A table of `rows` vectors, weight [rows, features]."""
    return {"weight": Param(f"{name}.weight", (rows, features), Layout.SAME, Init.NORMAL)}


def with_aliases(tree: ParamTree, alias: Callable[[str], str]) -> ParamTree:
    """The same declarations, each also accepted under the name that `alias` makes of its name."""

    def add(param: Param) -> Param:
        return replace(param, aliases=(*param.aliases, alias(param.name)))

    aliased: ParamTree = jax.tree.map(add, tree)
    return aliased


def declared(tree: ParamTree) -> list[Param]:
    """All declarations of a tree."""
    return jax.tree.leaves(tree)


def count(tree: ParamTree) -> int:
    """The number of parameters, as one counts a model's size."""
    return sum(param.size for param in declared(tree))

"""Declarations of parameters: each tensor of a checkpoint is described once, by a `Param`.

A model is a pytree of layers: frozen dataclasses (see `layer`) whose fields are arrays or further
layers. Each type has a `declare`, which makes one with a `Param` in the place of every array.
Random initialisation, abstract shapes and strict loading are all derived from such a declaration
(see `folder.weights`), and give the same layers with arrays, which compute when they are called.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, TypeVar, dataclass_transform

import jax
from numpy.typing import NDArray

Tree = TypeVar("Tree")
"""Layers, with arrays or with declarations."""

STATIC = {"static": True}
"""The metadata of a layer's field that is no part of its arrays, such as a norm's epsilon."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def layer(cls: type[Tree]) -> type[Tree]:
    """Makes a class a frozen dataclass and a pytree, of all fields that are not `STATIC`.

    A pytree's arrays are arguments of the programs that it is given to. They come in the order of
    the fields' names, so that moving lines about in a class makes no other program.
    """
    made: Any = dataclass(frozen=True)(cls)
    static = {each.name: bool(each.metadata.get("static")) for each in fields(made)}
    registered: type[Tree] = jax.tree_util.register_dataclass(
        made,
        data_fields=sorted(name for name in static if not static[name]),
        meta_fields=[name for name in static if static[name]],
    )
    return registered


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


def tensor(
    name: str, stored: tuple[int, ...], layout: Layout, init: Init, aliases: tuple[str, ...] = ()
) -> Any:
    """A `Param`, for the place where a layer has an array."""
    return Param(name, stored, layout, init, aliases)


def with_aliases(tree: Tree, alias: Callable[[str], str]) -> Tree:
    """The same declarations, each also accepted under the name that `alias` makes of its name."""

    def add(param: Param) -> Param:
        return replace(param, aliases=(*param.aliases, alias(param.name)))

    aliased: Tree = jax.tree.map(add, tree)
    return aliased


def declared(tree: Any) -> list[Param]:
    """All declarations of a tree."""
    return jax.tree.leaves(tree)


def count(tree: Any) -> int:
    """The number of parameters, as one counts a model's size."""
    return sum(param.size for param in declared(tree))

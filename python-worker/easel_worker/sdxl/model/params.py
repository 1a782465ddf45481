"""Declarations of parameters: one `Param` describes each tensor of a checkpoint.

A model is a pytree of layers: frozen dataclasses (see `layer`) whose fields are arrays or other
layers. `declare` of each type makes a layer with a `Param` in place of every array. From it,
`folder.weights` derives random initialisation, abstract shapes and strict loading: each returns the
same layers with arrays, which can then be called.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from numpy.typing import NDArray

Tree = TypeVar("Tree")
"""Layers that hold arrays or declarations."""

STATIC = {"static": True}
"""Metadata of a field that holds no arrays, such as a norm's epsilon."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def layer(cls: type[Tree]) -> type[Tree]:
    """Make a class a frozen dataclass and a pytree of its fields that are not `STATIC`.

    The arrays of a pytree become arguments of compiled programs, in the order of the fields' names.
    Reordering the lines of a class therefore changes no program.
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
    """How a stored tensor of a PyTorch checkpoint becomes our array."""

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
        """View a stored tensor in our layout."""
        match self:
            case Layout.SAME:
                return stored
            case Layout.LINEAR:
                return stored.T
            case Layout.CONV:
                return stored.transpose(2, 3, 1, 0)
            case Layout.POINTWISE:
                return stored[:, :, 0, 0].T

    def restore(self, array: NDArray[Any], stored: tuple[int, ...]) -> NDArray[Any]:
        """View an array in our layout as the checkpoint stores it: undoes `arrange`.

        Args:
            array: in our layout.
            stored: the tensor's shape in the checkpoint.
        """
        match self:
            case Layout.SAME:
                return array
            case Layout.LINEAR:
                return array.T
            case Layout.CONV:
                return array.transpose(3, 2, 0, 1)
            case Layout.POINTWISE:
                return array.T.reshape(stored)


class Init(Enum):
    """The initial values of an untrained parameter."""

    NORMAL = "normal, variance 1 / fan-in"
    ONES = "ones"
    ZEROS = "zeros"


@dataclass(frozen=True)
class Param:
    """One tensor of a checkpoint, and the layout of our array.

    Attributes:
        name: the tensor's name in a diffusers or transformers checkpoint.
        stored: its shape in the checkpoint.
        layout: converts it to our array.
        init: its initial values.
        aliases: its names in checkpoints of other library versions.
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
        """Number of elements."""
        return math.prod(self.stored)

    @property
    def fan_in(self) -> int:
        """Number of inputs that each output sums over."""
        return math.prod(self.stored[1:])


def tensor(
    name: str, stored: tuple[int, ...], layout: Layout, init: Init, aliases: tuple[str, ...] = ()
) -> Any:
    """A `Param`, typed so that it can stand in for a layer's array."""
    return Param(name, stored, layout, init, aliases)


def with_aliases(tree: Tree, alias: Callable[[str], str]) -> Tree:
    """Add the alias `alias(name)` to every declaration."""

    def add(param: Param) -> Param:
        return replace(param, aliases=(*param.aliases, alias(param.name)))

    aliased: Tree = jax.tree.map(add, tree)
    return aliased


def declared(tree: Any) -> list[Param]:
    """The declarations of a tree, in order."""
    return jax.tree.leaves(tree)


def nbytes(tree: Any) -> int:
    """Bytes of a tree's arrays, which may be abstract."""
    return sum(math.prod(a.shape) * np.dtype(a.dtype).itemsize for a in jax.tree.leaves(tree))


def count(tree: Any) -> int:
    """Number of parameters of a model."""
    return sum(param.size for param in declared(tree))

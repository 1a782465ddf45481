"""Our UNet's weights as the parameters of MaxDiffusion's, without copying them.

Its modules have the names of diffusers' with an underscore before a number, and Flax's names for
tensors. Our layouts of products and convolutions are Flax's.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax

from easel_worker.sdxl.model.params import Layout, Param

_NUMBER = re.compile(r"\.(\d+)(?=\.)")

Path = tuple[str, ...]


def flax_path(param: Param) -> Path:
    """Where Flax keeps a tensor: `mid_block.resnets.0.conv1.weight` in `resnets_0`, `kernel`."""
    *modules, leaf = _NUMBER.sub(r"_\1", param.name).split(".")
    if leaf == "weight":
        leaf = "scale" if param.layout is Layout.SAME else "kernel"
    return (*modules, leaf)


def flax_shape(param: Param) -> tuple[int, ...]:
    """The shape of Flax's array: like ours, but a 1×1 convolution has its two sides."""
    return (1, 1, *param.shape) if param.layout is Layout.POINTWISE else param.shape


def flax_tree(params: Sequence[Param], arrays: Sequence[jax.Array]) -> dict[str, Any]:
    """Nested dicts with our arrays, as Flax's `apply` takes them."""
    tree: dict[str, Any] = {}
    for param, array in zip(params, arrays, strict=True):
        *modules, leaf = flax_path(param)
        inner = tree
        for name in modules:
            inner = inner.setdefault(name, {})
        inner[leaf] = array.reshape(flax_shape(param))
    return tree


def check_tree(params: Sequence[Param], theirs: Any) -> None:
    """Check names and shapes against what MaxDiffusion's UNet says that it has.

    Args:
        params: our declarations.
        theirs: nested dicts of shapes, maybe in Flax's boxes.

    Raises:
        ValueError: they differ.
    """
    wanted = {}
    for path, each in jax.tree_util.tree_flatten_with_path(theirs)[0]:
        keys = (key.key for key in path if isinstance(key, jax.tree_util.DictKey))
        wanted[tuple(keys)] = tuple(each.shape)
    ours = {flax_path(param): flax_shape(param) for param in params}
    different = [
        path for path in sorted(wanted.keys() | ours.keys()) if wanted.get(path) != ours.get(path)
    ]
    if different:
        first = different[0]
        raise ValueError(
            f"MaxDiffusion's UNet has other parameters than the model: {len(different)} differ, "
            f"first {'/'.join(first)}, which is {wanted.get(first, 'missing')} there and "
            f"{ours.get(first, 'missing')} in the model"
        )

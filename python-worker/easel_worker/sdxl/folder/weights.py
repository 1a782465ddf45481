"""From declarations to arrays: loaded strictly from a checkpoint, drawn at random, or abstract."""

import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import NDArray

from easel_worker.sdxl.folder.checkpoint import StoredTensor, WeightsError, open_tensors
from easel_worker.sdxl.model.params import Init, Param, Tree, declared

__all__ = ["Put", "WeightsError", "abstract", "init", "load"]

Put = Callable[[NDArray[Any], Param], jax.Array]
"""Places an array, in our layout and dtype, on the devices."""

BUFFERS = frozenset(
    {"text_model.embeddings.position_ids", "embeddings.position_ids"},  # arange(77), not trained
)
"""Tensors that old checkpoints hold beside the parameters; the only names that are ignored."""

MOST_PROBLEMS_SHOWN = 10

MOST_BYTES_ON_THE_WAY = 256 * 2**20


def load(folder: Path, component: str, tree: Tree, dtype: DTypeLike, put: Put) -> Tree:
    """Read a part of a model: every declared tensor, and nothing but declared tensors.

    Names and shapes are all checked before the first tensor is read. Then one tensor at a time is
    read, converted and placed, in the order of the files. The host never holds a second copy of
    the weights, only what is still on its way to the devices.

    Args:
        folder: the diffusers folder.
        component: the part's subfolder ("unet", "vae", ...).
        tree: its declarations.
        dtype: of the arrays, whatever the files hold.
        put: places each array.

    Raises:
        WeightsError: a tensor is unknown, missing, doubled or misshapen, or a file is unreadable;
            it names tensor and file.
    """
    with open_tensors(folder / component) as tensors:
        stored = match(folder / component, tree, tensors)
        params = {param.name: param for param in declared(tree)}
        placed: dict[str, jax.Array] = {}
        on_the_way: deque[jax.Array] = deque()
        for name, tensor in stored.items():
            array = params[name].layout.arrange(tensor.read())
            array = np.ascontiguousarray(array, dtype=np.dtype(dtype))
            placed[name] = put(array, params[name])
            on_the_way.append(placed[name])
            _wait_for_oldest(on_the_way)
        loaded: Tree = jax.tree.map(lambda param: placed[param.name], tree)
        return loaded


def _wait_for_oldest(on_the_way: deque[jax.Array]) -> None:
    """Until few bytes are on the way: reading may be faster than the way to the devices."""
    while sum(array.nbytes for array in on_the_way) > MOST_BYTES_ON_THE_WAY:
        on_the_way.popleft().block_until_ready()


def match(folder: Path, tree: Any, tensors: list[StoredTensor]) -> dict[str, StoredTensor]:
    """The stored tensor for each declared name, in the given order.

    Raises:
        WeightsError: unless stored and declared tensors are the same, name by name.
    """
    params = declared(tree)
    by_name = {name: param for param in params for name in (param.name, *param.aliases)}
    found: dict[str, StoredTensor] = {}
    problems = []
    for tensor in tensors:
        if tensor.name in BUFFERS:
            continue
        param = by_name.get(tensor.name)
        if param is None:
            problems.append(f"{tensor.file}: unknown tensor {tensor.name} {list(tensor.shape)}")
        elif param.name in found:
            other = found[param.name]
            problems.append(f"{tensor.file}: {tensor.name} is also in {other.file} as {other.name}")
        elif tensor.shape != param.stored:
            shapes = f"{list(tensor.shape)}, the config asks for {list(param.stored)}"
            problems.append(f"{tensor.file}: {tensor.name} has shape {shapes}")
        if param is not None:
            found.setdefault(param.name, tensor)
    problems += [f"{folder}: missing tensor {p.name}" for p in params if p.name not in found]
    if problems:
        raise WeightsError(_summary(folder, problems))
    return found


def _summary(folder: Path, problems: list[str]) -> str:
    shown = problems[:MOST_PROBLEMS_SHOWN]
    rest = len(problems) - len(shown)
    lines = [f"{folder}: the weights do not fit config.json", *shown]
    return "\n  ".join(lines + ([f"and {rest} more"] if rest else []))


def init(tree: Tree, key: jax.Array, dtype: DTypeLike) -> Tree:
    """Random parameters of an untrained model; each depends on the key and its own name only."""

    def draw(param: Param) -> jax.Array:
        match param.init:
            case Init.ZEROS:
                return jnp.zeros(param.shape, dtype)
            case Init.ONES:
                return jnp.ones(param.shape, dtype)
            case Init.NORMAL:
                own = jax.random.fold_in(key, zlib.crc32(param.name.encode()))
                normal = jax.random.normal(own, param.shape, jnp.float32)
                scaled: jax.Array = normal * param.fan_in**-0.5
                return scaled.astype(dtype)

    params: Tree = jax.tree.map(draw, tree)
    return params


def abstract(tree: Tree, dtype: DTypeLike) -> Tree:
    """Shapes and dtypes without memory: a `jax.ShapeDtypeStruct` at every leaf."""

    def struct(param: Param) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(param.shape, dtype)  # type: ignore[no-untyped-call]

    shapes: Tree = jax.tree.map(struct, tree)
    return shapes

"""Turns declarations into arrays: loaded strictly from files, drawn at random, or abstract."""

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

from easel_worker.sdxl.folder.checkpoint import (
    StoredTensor,
    Weights,
    WeightsError,
    open_tensors,
)
from easel_worker.sdxl.folder.original_names import from_original, original_keys
from easel_worker.sdxl.model.params import Init, Param, Tree, declared

__all__ = ["Put", "Weights", "WeightsError", "abstract", "has_any", "init", "load"]

Put = Callable[[NDArray[Any], Param], jax.Array]
"""Places an array, already in our layout and dtype, on the devices."""

_POSITIONS = {"text_model.embeddings.position_ids", "embeddings.position_ids"}
"""arange(77), not trained, as are a vision encoder's."""

HARMLESS = {
    "text_encoder": frozenset({*_POSITIONS, "text_projection.weight", "logit_scale"}),
    "text_encoder_2": frozenset({*_POSITIONS, "logit_scale"}),
    "image_encoder": frozenset({"vision_model.embeddings.position_ids"}),
}
"""Tensors that some checkpoints hold and the model does not use. Only these are ignored."""

MAX_PROBLEMS_SHOWN = 10

MAX_BYTES_IN_FLIGHT = 256 * 2**20


def load(source: Weights, tree: Tree, dtype: DTypeLike, put: Put) -> Tree:
    """Load a component strictly: a missing and an unexpected tensor are both errors.

    Checks all names and shapes before reading. Then reads, converts and places one tensor at a
    time, in file order. The host holds only the tensors in flight to the devices, never a whole
    copy of the weights.

    Args:
        source: where the weights are.
        tree: its declarations.
        dtype: of the arrays; stored tensors are converted to it.
        put: places each array.

    Raises:
        WeightsError: a tensor is unknown, missing, duplicated or of the wrong shape, or a file is
            unreadable; it names tensor and file.
    """
    with open_tensors(source.path) as tensors:
        stored = match(source, tree, tensors)
        params = {param.name: param for param in declared(tree)}
        placed: dict[str, jax.Array] = {}
        in_flight: deque[jax.Array] = deque()
        for name, tensor in stored.items():
            array = params[name].layout.arrange(tensor.read())
            array = np.ascontiguousarray(array, dtype=np.dtype(dtype))
            placed[name] = put(array, params[name])
            in_flight.append(placed[name])
            _wait_for_oldest(in_flight)
        loaded: Tree = jax.tree.map(lambda param: placed[param.name], tree)
        return loaded


def has_any(source: Weights, tree: Any) -> bool:
    """Whether the files hold any of the declared tensors.

    Raises:
        WeightsError: a file is unreadable.
    """
    params = declared(tree)
    names = {name for param in params for name in (param.name, *param.aliases)}
    with open_tensors(source.path) as tensors:
        own = tensors
        if source.prefix is not None:
            own = from_original(source.component, source.prefix, params, tensors)
        return any(tensor.name in names for tensor in own)


def _wait_for_oldest(in_flight: deque[jax.Array]) -> None:
    """Bound the bytes in flight: reading can be faster than the transfer to the devices."""
    while sum(array.nbytes for array in in_flight) > MAX_BYTES_IN_FLIGHT:
        in_flight.popleft().block_until_ready()


def match(source: Weights, tree: Any, tensors: list[StoredTensor]) -> dict[str, StoredTensor]:
    """Maps each declared name to its stored tensor, in the order of `tensors`.

    Raises:
        WeightsError: stored and declared tensors differ in a name or a shape.
    """
    params = declared(tree)
    keys = {param.name: param.name for param in params}
    if source.prefix is not None:
        tensors = from_original(source.component, source.prefix, params, tensors)
        keys = original_keys(source.component, source.prefix, params)
    by_name = {name: param for param in params for name in (param.name, *param.aliases)}
    harmless = HARMLESS.get(source.component, frozenset())
    found: dict[str, StoredTensor] = {}
    problems = []
    for tensor in tensors:
        if tensor.name in harmless:
            continue
        param = by_name.get(tensor.name)
        if param is None:
            problems.append(f"{tensor.file}: unknown tensor {tensor.key} {list(tensor.shape)}")
        elif param.name in found:
            other = found[param.name]
            problems.append(f"{tensor.file}: {tensor.key} is also in {other.file} as {other.key}")
        elif tensor.shape != param.stored:
            shapes = f"{list(tensor.shape)}, but the config requires {list(param.stored)}"
            problems.append(f"{tensor.file}: {tensor.key} has shape {shapes}")
        if param is not None:
            found.setdefault(param.name, tensor)
    missing = dict.fromkeys(keys[param.name] for param in params if param.name not in found)
    problems += [f"{source.path}: missing tensor {key}" for key in missing]
    if problems:
        raise WeightsError(_summary(source.path, problems))
    return found


def _summary(path: Path, problems: list[str]) -> str:
    shown = problems[:MAX_PROBLEMS_SHOWN]
    rest = len(problems) - len(shown)
    lines = [f"{path}: the weights do not match the config", *shown]
    return "\n  ".join(lines + ([f"and {rest} more"] if rest else []))


def init(tree: Tree, key: jax.Array, dtype: DTypeLike) -> Tree:
    """Random parameters. Each depends only on the key and its own name."""

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
    """Shapes and dtypes only: a `jax.ShapeDtypeStruct` at every leaf."""

    def struct(param: Param) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(param.shape, dtype)  # type: ignore[no-untyped-call]

    shapes: Tree = jax.tree.map(struct, tree)
    return shapes

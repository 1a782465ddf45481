"""Finds the safetensors files of one component, single or sharded, and reads them by tensor."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from easel_worker.text_file import read_object

FILE_NAMES = tuple(
    f"{stem}{ending}"
    for ending in (
        ".safetensors",
        ".safetensors.index.json",
        ".fp16.safetensors",
        ".safetensors.index.fp16.json",
        ".fp16.safetensors.index.json",
    )
    for stem in ("diffusion_pytorch_model", "model")
)
"""Names of weights files in order of preference. Full precision comes before the fp16 variant.
diffusers has used two spellings for the variant's index."""


class WeightsError(ValueError):
    """The weights on disk do not match the config."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in an open file, not yet read."""

    name: str
    file: Path
    shape: tuple[int, ...]
    handle: Any

    def read(self) -> NDArray[Any]:
        """A copy of the tensor in its stored dtype (bfloat16 is ml_dtypes')."""
        array: NDArray[Any] = self.handle.get_tensor(self.name)
        return array


@contextmanager
def open_tensors(folder: Path) -> Iterator[list[StoredTensor]]:
    """All tensors in a component's folder, in file order. Readable until the context exits.

    Files are read, not mapped: mapped pages would count towards this process's memory until the
    file is closed, and disks and mounted buckets are fastest when read in order.

    Raises:
        WeightsError: there are no weights, a file is unreadable, or the shards contradict their
            index.
    """
    weights = find(folder)
    with ExitStack() as stack:
        if weights.suffix == ".json":
            placed = _read_index(weights)
            files = sorted(set(placed.values()))
            tensors = [tensor for file in files for tensor in _open(file, stack)]
            _check_index(weights, placed, tensors)
        else:
            tensors = _open(weights, stack)
        yield tensors


def find(folder: Path) -> Path:
    """The weights file of a component, or its index if it is sharded.

    Raises:
        WeightsError: there is none.
    """
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} has no weights: expected one of {', '.join(FILE_NAMES)}")


def _open(file: Path, stack: ExitStack) -> list[StoredTensor]:
    try:
        handle: Any = stack.enter_context(safe_open(file, framework="numpy", backend="pread"))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} cannot be read as safetensors: {error}") from error
    return [
        StoredTensor(name, file, tuple(handle.get_slice(name).get_shape()), handle)
        for name in handle.offset_keys()
    ]


def _read_index(index: Path) -> dict[str, Path]:
    """Maps each tensor's name to its file."""
    try:
        weight_map: dict[str, str] = read_object(index)["weight_map"]
        return {name: index.parent / file for name, file in weight_map.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{index} is not a safetensors index: {error!r}") from error


def _check_index(index: Path, placed: dict[str, Path], tensors: list[StoredTensor]) -> None:
    found = {(tensor.name, tensor.file) for tensor in tensors}
    for name, file in sorted(set(placed.items()) ^ found):
        problem = "listed but absent" if placed.get(name) == file else "not listed"
        raise WeightsError(f"{index}: tensor {name} of {file.name} is {problem}")

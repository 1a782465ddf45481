"""Finds the safetensors files of one component, single or sharded, and reads them by tensor."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from easel_worker.pickles import PICKLES
from easel_worker.sdxl.folder.float8 import Float8Tensors
from easel_worker.text_file import read_object

VARIANTS = ("", "fp32", "fp16", "bf16")
"""Variants that differ only in precision, in order of preference; "" is no variant."""

_STEMS = ("diffusion_pytorch_model", "model")


class WeightsError(ValueError):
    """The weights on disk do not match the config."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in an open file, not yet read.

    Attributes:
        name: in diffusers' naming.
        file: the file that has it.
        shape: of what `read` returns.
        handle: the open file, as `safe_open` or `Float8Tensors` gives it.
        key: the tensor's name in the file.
        rows: read only these rows, as slice bounds.
        transposed: whether the file has the transposed matrix.
    """

    name: str
    file: Path
    shape: tuple[int, ...]
    handle: Any
    key: str
    rows: tuple[int, int] | None = None
    transposed: bool = False

    def read(self) -> NDArray[Any]:
        """A copy of the tensor in its stored dtype (bfloat16 and float8 are ml_dtypes')."""
        array: NDArray[Any]
        if self.rows is None:
            array = self.handle.get_tensor(self.key)
        else:
            array = self.handle.get_slice(self.key)[self.rows[0] : self.rows[1]]
        return array.T if self.transposed else array.reshape(self.shape)


@dataclass(frozen=True)
class Weights:
    """Where the weights of a component are.

    Attributes:
        path: the component's folder, or a file.
        component: such as "unet".
        prefix: None for names as diffusers gives them. Else the file has the original layout (see
            `original_names`), and the names of the component's tensors begin with this.
    """

    path: Path
    component: str
    prefix: str | None = None


@contextmanager
def open_tensors(path: Path) -> Iterator[list[StoredTensor]]:
    """All tensors of a file or a component's folder, in file order, until the context exits.

    Files are read, not mapped: mapped pages would count towards this process's memory until the
    file is closed, and disks and mounted buckets are fastest when read in order.

    Raises:
        WeightsError: there are no weights, a file is unreadable, or the shards contradict their
            index.
    """
    weights = path if path.is_file() else find(path)
    with ExitStack() as stack:
        if weights.suffix == ".json":
            placed = _read_index(weights)
            files = sorted(set(placed.values()))
            tensors = [tensor for file in files for tensor in _open(file, stack)]
            _check_index(weights, placed, tensors)
        else:
            tensors = _open(weights, stack)
        yield tensors


def weight_names(variant: str) -> tuple[str, ...]:
    """Names that a component's weights, or their index, can have in a variant.

    diffusers has used two spellings for the index of a variant.
    """
    mark = f".{variant}" if variant else ""
    endings = (
        f"{mark}.safetensors",
        f".safetensors.index{mark}.json",
        f"{mark}.safetensors.index.json",
    )
    return tuple(dict.fromkeys(f"{stem}{ending}" for ending in endings for stem in _STEMS))


_NAMES = tuple(name for variant in VARIANTS for name in weight_names(variant))


def has_weights(folder: Path) -> bool:
    """Whether `find` finds weights."""
    return any((folder / name).is_file() for name in _NAMES)


def find(folder: Path) -> Path:
    """The weights file of a component, or its index if it is sharded.

    Raises:
        WeightsError: there is none. The message names the weights that were found instead.
    """
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path.name for path in folder.glob("*") if path.is_file())
    raise WeightsError(f"{folder} has no weights that can be read: {no_weights(found)}")


def no_weights(names: list[str]) -> str:
    """What is wrong with a component that has these files and no weights in `VARIANTS`."""
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        return (
            f"found {', '.join(others)}; expected {weight_names('')[0]} or model.safetensors, "
            f"or the variants {', '.join(VARIANTS[1:])}"
        )
    pickled = [name for name in names if PICKLES.fullmatch(name)]
    if pickled:
        return f"found {', '.join(pickled)}, which can run code; {CONVERT}"
    return f"expected {weight_names('')[0]} or model.safetensors"


CONVERT = (
    "convert the model with diffusers: "
    "StableDiffusionXLPipeline.from_pretrained(MODEL).save_pretrained(FOLDER)"
)


def _open(file: Path, stack: ExitStack) -> list[StoredTensor]:
    try:
        handle: Any = stack.enter_context(safe_open(file, framework="numpy", backend="pread"))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} cannot be read as safetensors: {error}") from error
    float8 = Float8Tensors(file)
    return [
        StoredTensor(
            name,
            file,
            tuple(handle.get_slice(name).get_shape()),
            float8 if name in float8 else handle,
            name,
        )
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

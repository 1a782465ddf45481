"""A model's identity: its name, and a digest of everything that determines its images."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from easel_worker.sdxl.folder.checkpoint import open_tensors
from easel_worker.text_file import read_object

COMPONENTS = ("text_encoder", "text_encoder_2", "unet", "vae")


def model_id(folder: Path) -> str:
    """The name that the model was saved under, or the name of its folder."""
    index = read_object(folder / "model_index.json")
    return str(index.get("_name_or_path") or folder.resolve().name)


def model_digest(folder: Path, calibration_file: Path | None = None) -> str:
    """SHA-256 over the paths and contents of the configs and weights that we load.

    Reads files in pieces, so memory does not grow with the model.

    Args:
        folder: the model.
        calibration_file: of a quantised model, else None.
    """
    whole = hashlib.sha256()
    for path in sorted(_files(folder)):
        whole.update(f"{path.relative_to(folder).as_posix()} {_digest(path)}\n".encode())
    if calibration_file is not None:
        whole.update(f"int8 {_digest(calibration_file)}\n".encode())
    return whole.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    yield folder / "model_index.json"
    yield folder / "scheduler" / "scheduler_config.json"
    for component in COMPONENTS:
        yield folder / component / "config.json"
        with open_tensors(folder / component) as tensors:
            yield from {tensor.file for tensor in tensors}

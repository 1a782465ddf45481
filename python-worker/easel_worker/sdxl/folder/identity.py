"""A model's identity: a digest of everything that determines its images."""

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from easel_worker.sdxl.folder.checkpoint import Weights, open_tensors
from easel_worker.sdxl.folder.files import ModelFiles
from easel_worker.sdxl.folder.layout import INDEX, SCHEDULER


def model_digest(
    files: ModelFiles, calibration_file: Path | None = None, refiner: ModelFiles | None = None
) -> str:
    """SHA-256 over the names and contents of the configs and weights that we load.

    Args:
        files: of the model.
        calibration_file: of a quantised model, else None.
        refiner: of the operator's refiner, else None.
    """
    named = {PurePosixPath(name): path for name, path in _named(files)}
    digests = {path: file_digest(path) for path in set(named.values())}
    whole = hashlib.sha256()
    for name in sorted(named):
        whole.update(f"{name} {digests[named[name]]}\n".encode())
    if calibration_file is not None:
        whole.update(f"int8 {file_digest(calibration_file)}\n".encode())
    if refiner is not None:
        whole.update(f"refiner {model_digest(refiner)}\n".encode())
    return whole.hexdigest()


def component_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a component's config and weights."""
    files = {folder / "config.json", *_files(Weights(folder, folder.name))}
    lines = [f"{file.name} {file_digest(file)}\n" for file in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(files: ModelFiles) -> Iterator[tuple[str, Path]]:
    """Each file with its name in a diffusers folder. The name of a single file does not count."""
    yield INDEX, files.index.path
    yield SCHEDULER, files.scheduler.path
    for component, each in files.components.items():
        yield f"{component}/config.json", each.config.path
        for file in _files(each.weights):
            name = file.name if each.weights.path.is_dir() else "single_file"
            yield f"{component}/{name}", file


def _files(weights: Weights) -> set[Path]:
    if weights.path.is_file():
        return {weights.path}
    with open_tensors(weights.path) as tensors:
        return {tensor.file for tensor in tensors}

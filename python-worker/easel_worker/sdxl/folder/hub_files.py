"""Which files of a repository on the hub to fetch."""

import re
from collections.abc import Collection

from easel_worker.sdxl.folder.checkpoint import no_weights
from easel_worker.sdxl.folder.layout import COMPONENTS, INDEX

VARIANTS = ("fp16", "bf16", "", "fp32")
"""In order of preference: half precision is half the bytes. "" is no variant."""

_SMALL = re.compile(
    r"model_index\.json|easel\.json|scheduler/scheduler_config\.json"
    rf"|({'|'.join(COMPONENTS)})/config\.json|tokenizer(_2)?/(\w+\.json|merges\.txt)"
)
_WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?"
)


class HubError(ValueError):
    """A model cannot be fetched. The message says what to do."""


def small_files(paths: Collection[str], component: str | None) -> list[str]:
    """The configs and tokenizers that gateway and worker read.

    Args:
        paths: all files of the repository.
        component: "vae" or "unet" to fetch only it, else None.

    Raises:
        HubError: the repository is not a diffusers folder.
    """
    if component is not None:
        return [f"{_folder_of(paths, component)}config.json"]
    if INDEX not in paths:
        raise HubError(
            f"the repository is not a diffusers folder: it has no {INDEX}{_files(paths)}"
        )
    return sorted(path for path in paths if _SMALL.fullmatch(path))


def weights_files(paths: Collection[str], component: str | None) -> list[str]:
    """One set of weights of each component.

    Args:
        paths: all files of the repository.
        component: "vae" or "unet" to fetch only it, else None.

    Raises:
        HubError: a component has no weights. The message names those that were found instead.
    """
    if component is not None:
        return _weights(_folder_of(paths, component), component, paths)
    return [
        path
        for part in COMPONENTS
        # SDXL's refiner has no first text encoder; the configs tell later whether this is one.
        if part != "text_encoder" or any(path.startswith(f"{part}/") for path in paths)
        for path in _weights(f"{part}/", part, paths)
    ]


def missing_file(paths: Collection[str], file: str) -> HubError:
    """The error for a file that the repository does not have."""
    return HubError(f"the repository has no {file}{_files(paths)}")


def _files(paths: Collection[str]) -> str:
    found = sorted(path for path in paths if path.endswith(".safetensors") and "/" not in path)
    return f"; to serve one of its files, add its name: {', '.join(found)}" if found else ""


def _folder_of(paths: Collection[str], component: str) -> str:
    """Where a component is: in its folder, or at the top of a repository of its own."""
    for folder in (f"{component}/", ""):
        if f"{folder}config.json" in paths:
            return folder
    raise HubError(f"the repository has no {component}: no config.json{_files(paths)}")


def _weights(folder: str, component: str, paths: Collection[str]) -> list[str]:
    """One set of a component's weights with its index."""
    inside = (path.removeprefix(folder) for path in paths if path.startswith(folder))
    names = sorted(name for name in inside if "/" not in name)
    for variant in VARIANTS:
        mark = f".{variant}" if variant else ""
        chosen = [
            name for name in names if mark in name and _WEIGHTS.fullmatch(name.replace(mark, "", 1))
        ]
        if chosen:
            return [f"{folder}{name}" for name in chosen]
    raise HubError(f"the model has no weights of its {component} to fetch: {no_weights(names)}")

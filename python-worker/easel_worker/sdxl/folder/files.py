"""Where the files of a model are: a diffusers folder, a single file, and what replaces parts of it.

A single file has no configs and no tokenizers. Those of SDXL base are part of Easel. A folder that
holds one single file may also hold configs, tokenizers and easel.json of its own; they replace
those of SDXL base.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from easel_worker.pickles import PICKLES
from easel_worker.sdxl.folder.checkpoint import Weights, WeightsError, has_weights
from easel_worker.sdxl.folder.config_reader import (
    ConfigError,
    ConfigFile,
    ConfigReader,
    read_config_file,
)
from easel_worker.sdxl.folder.easel_json import easel_json_of
from easel_worker.sdxl.folder.layout import COMPONENTS, INDEX, SCHEDULER, TOKENIZERS
from easel_worker.sdxl.folder.original_names import PREFIXES
from easel_worker.sdxl.folder.preset_names import Label
from easel_worker.sdxl.folder.single_file import (
    SUFFIX,
    input_changes,
    inspect,
    open_header,
    title_of,
)
from easel_worker.sdxl.quantization import calibration

BASE = Path(__file__).parents[4] / "models" / "sdxl-base-config"
"""SDXL base's configs and tokenizers."""

_CONV_IN, _ORIGINAL_CONV_IN = "conv_in.weight", "input_blocks.0.0.weight"
"""The UNet's first layer in both layouts."""

_ORIGINAL_MARKS = {"unet": "input_blocks.", "vae": "decoder.mid."}
"""What only the original layout of a component has, after the component's prefix or without it."""


@dataclass(frozen=True)
class Component:
    """A component's config and weights."""

    config: ConfigFile
    weights: Weights


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        name: the model's name, if its model_index.json gives none.
        folder: where the calibration can be, if anywhere.
        easel_json: where easel.json can be.
        index: model_index.json.
        scheduler: the scheduler's config.
        tokenizers: the folders of the first and the second; the second's twice if the model has no
            first text encoder.
        components: by the names in `COMPONENTS`; that encoder may be missing.
        labels: what its UNet is called, in the file's name first.
    """

    name: str
    folder: Path | None
    easel_json: Path
    index: ConfigFile
    scheduler: ConfigFile
    tokenizers: tuple[Path, Path]
    components: Mapping[str, Component]
    labels: tuple[Label, ...] = ()


def locate(model: Path, *, vae: Path | None = None, unet: Path | None = None) -> ModelFiles:
    """Find the files of a model.

    Args:
        model: a diffusers folder, a single file, or a folder with one single file.
        vae: a folder or a file that replaces the VAE.
        unet: a folder or a file that replaces the UNet.

    Raises:
        ConfigError: there is no model, or more than one.
        WeightsError: a single file is not SDXL.
    """
    file = _single_file(model)
    files = _of_folder(model) if file is None else _of_file(file, model, with_vae=vae is None)
    components = dict(files.components)
    if vae is not None:
        components["vae"] = _replacement("vae", vae, components["vae"])
    name, labels = files.name, files.labels
    if unet is not None:
        components["unet"] = _replacement("unet", unet, components["unet"])
        name = f"{name}+{unet.resolve().stem}"
        labels = _labels_of_unet(unet.resolve())
    return replace(files, name=name, components=components, labels=labels)


def _labels_of_unet(unet: Path) -> tuple[Label, ...]:
    """A UNet says by itself what it is; the model under it says nothing of it."""
    if unet.is_dir():
        return (Label(unet.name, "UNet's folder"),)
    return _labels(unet.stem, "file name", title_of(open_header(unet)))


def _labels(name: str, source: str, title: str | None = None) -> tuple[Label, ...]:
    return (Label(name, source), *(() if title is None else (Label(title, "title"),)))


def _of_folder(folder: Path) -> ModelFiles:
    index = folder / INDEX
    values = read_config_file(index)
    lacks_first = _lacks_first_encoder(values)
    name = str(values.get("_name_or_path") or folder.resolve().name)
    return ModelFiles(
        name=name,
        labels=_labels(name, "name"),
        folder=folder,
        easel_json=easel_json_of(folder),
        index=ConfigFile(index),
        scheduler=ConfigFile(folder / SCHEDULER),
        tokenizers=(folder / TOKENIZERS[1 if lacks_first else 0], folder / TOKENIZERS[1]),
        components={
            name: Component(ConfigFile(folder / name / "config.json"), Weights(folder / name, name))
            for name in _components(lacks_first=lacks_first)
        },
    )


def _lacks_first_encoder(index: Mapping[str, Any]) -> bool:
    """Whether model_index.json says so: diffusers writes [null, null] for a missing part."""
    return index.get("text_encoder", "") in (None, [None, None])


def _components(*, lacks_first: bool) -> tuple[str, ...]:
    return tuple(name for name in COMPONENTS if not (lacks_first and name == "text_encoder"))


def _of_file(file: Path, model: Path, *, with_vae: bool) -> ModelFiles:
    """A single file, with the configs beside it where `model` is their folder."""
    contents = inspect(file)
    if with_vae and not contents.has_vae:
        raise WeightsError(
            f"{file} has no VAE: set VAE to a VAE's folder or file, such as that of "
            "madebyollin/sdxl-vae-fp16-fix"
        )
    own = model if model.is_dir() else None

    def config(path: str, changes: Mapping[str, Any]) -> ConfigFile:
        if own is not None and (own / path).is_file():
            return ConfigFile(own / path)
        if not changes:
            return ConfigFile(BASE / path)
        base = {} if "_class_name" in changes else read_config_file(BASE / path)
        return ConfigFile(BASE / path, {**base, **changes})

    changes = {"unet": contents.unet, "vae": contents.vae}
    index = config(INDEX, contents.index)
    lacks_first = _lacks_first_encoder(ConfigReader(index).values)
    first, second = (
        own / name if own is not None and (own / name).is_dir() else BASE / name
        for name in (TOKENIZERS[1 if lacks_first else 0], TOKENIZERS[1])
    )
    return ModelFiles(
        name=file.stem,
        labels=_labels(file.stem, "file name", contents.title),
        folder=own,
        easel_json=easel_json_of(model),
        index=index,
        scheduler=config(SCHEDULER, contents.scheduler),
        tokenizers=(first, second),
        components={
            name: Component(
                config(f"{name}/config.json", changes.get(name, {})),
                Weights(file, name, contents.prefixes[name]),
            )
            for name in _components(lacks_first=lacks_first)
        },
    )


def _replacement(name: str, path: Path, replaced: Component) -> Component:
    """A component by itself: a folder with its config, or a file for the config of the other."""
    if path.is_dir():
        inside = path / name
        folder = inside if (inside / "config.json").is_file() else path
        if (folder / "config.json").is_file():
            return Component(ConfigFile(folder / "config.json"), Weights(folder, name))
        path = _only_file(path) or path / "config.json"
    if not path.exists():
        raise ConfigError(f"{name.upper()}={path}: there is no such folder or file")
    header = open_header(path)
    original = (p for p in (PREFIXES[name], "") if header.has(p + _ORIGINAL_MARKS[name]))
    prefix = next(original, None)
    config = replaced.config
    if name == "unet":
        conv_in = header.tensors.get(_CONV_IN if prefix is None else f"{prefix}{_ORIGINAL_CONV_IN}")
        changes = {} if conv_in is None else input_changes(conv_in.shape)
        config = _changed(config, changes) if changes else config
    return Component(config, Weights(path, name, prefix))


def _changed(config: ConfigFile, changes: Mapping[str, Any]) -> ConfigFile:
    return ConfigFile(config.path, {**ConfigReader(config).values, **changes})


def _single_file(model: Path) -> Path | None:
    """The single file to load; None if `model` is a diffusers folder.

    Raises:
        ConfigError: there is nothing to load, or more than one file.
    """
    if model.is_file():
        return model
    if (model / INDEX).is_file() and has_weights(model / "unet"):
        return None
    found = _only_file(model)
    if found is not None and found.suffix != SUFFIX and (model / INDEX).is_file():
        return None
    return found


def _only_file(folder: Path) -> Path | None:
    """The file with weights in a folder, if there is one; a file to refuse if there is no other.

    Raises:
        ConfigError: there are several.
    """
    files = sorted(path for path in folder.glob("*") if path.is_file())
    usable = [path for path in files if path.suffix == SUFFIX and path.name != calibration.FILE]
    if len(usable) > 1:
        names = ", ".join(path.name for path in usable)
        raise ConfigError(f"{folder} holds {len(usable)} single files; give one of them: {names}")
    return next(iter(usable or (path for path in files if PICKLES.fullmatch(path.name))), None)

"""Merges LoRAs with our code."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.lora.file import read_lora
from easel_worker.sdxl.lora.merge import Weighted, merge, restored
from easel_worker.sdxl.lora.targets import COMPONENTS, ParamKey, Targets, declarations
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.params import declared
from parity import synthetic
from parity.loras.cases import LoraCase

Weights = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""A model's parameters: by component, then by the libraries' names."""

LIMIT = 1e-6
"""The largest difference of a merged weight, over the largest weight of its kind."""


def merged(case: LoraCase, config: SdxlConfig, weights: Weights) -> Weights:
    """Merge a case's LoRAs into a model's weights; returns those that changed."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            component: dict(_merged(case, config, weights, component, Path(folder)))
            for component in COMPONENTS
        }


def _merged(
    case: LoraCase, config: SdxlConfig, weights: Weights, component: str, folder: Path
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    targets, own = Targets(config), weights[component]
    shapes = {part: {n: a.shape for n, a in each.items()} for part, each in weights.items()}
    params = {param.name: param for param in declared(declarations(config)[component])}

    def library_name(key: ParamKey) -> str:
        names = (key.name, *params[key.name].aliases)
        return next(name for name in names if name in own)

    def base(key: ParamKey) -> NDArray[np.generic]:
        return params[key.name].layout.arrange(own[library_name(key)])

    uses = [
        Weighted(
            read_lora(use.file.write(folder, shapes), targets),
            use.unet if component == "unet" else use.text,
        )
        for use in case.uses
    ]
    for each in merge(uses, component, base):
        name, values = library_name(each.key), restored(each.values, each.param)
        if not np.array_equal(values, own[name]):
            yield name, values


def fingerprint(changed: Weights, before: Weights) -> tuple[list[str], NDArray[np.float64]]:
    """The names of changed parameters, and for each two sums [names, 2] that an error alters."""
    names, sums = [], []
    for component in COMPONENTS:
        for name, values in sorted(changed[component].items()):
            full = f"{component}.{name}"
            change = (values.astype(np.float64) - before[component][name]).reshape(-1)
            marks = synthetic.uniform(full, change.shape)
            names.append(full)
            sums.append((float(change @ marks), float(np.linalg.norm(change))))
    return names, np.array(sums)

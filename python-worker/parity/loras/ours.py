"""Merges LoRAs with our code."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, LoraUse
from easel_worker.sdxl.lora.file import read_lora
from easel_worker.sdxl.lora.merge import Factors, Weighted, merge
from easel_worker.sdxl.lora.targets import COMPONENTS, ParamKey, Targets, declarations
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity import synthetic
from parity.loras.cases import IMAGE, LoraCase

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
    own, model = weights[component], Model(config, weights, component)
    for each in merge(model.uses(case, folder), component, model.base):
        if isinstance(each, Factors):
            raise TypeError("a product, though none was asked for")
        name = model.library_name(each.key)
        values = each.param.layout.restore(each.values, each.param.stored)
        if not np.array_equal(values, own[name]):
            yield name, values


class Model:
    """A component's weights, for `merge`."""

    def __init__(self, config: SdxlConfig, weights: Weights, component: str) -> None:
        self._targets = Targets(config)
        self._weights = weights
        self._component = component
        self._params = {param.name: param for param in declared(declarations(config)[component])}

    def library_name(self, key: ParamKey) -> str:
        """Return the libraries' name of a parameter."""
        names = (key.name, *self._params[key.name].aliases)
        return next(name for name in names if name in self._weights[self._component])

    def base(self, key: ParamKey) -> NDArray[np.generic]:
        """Return a parameter in our layout."""
        stored = self._weights[self._component][self.library_name(key)]
        return self._params[key.name].layout.arrange(stored)

    def uses(self, case: LoraCase, folder: Path) -> list[Weighted]:
        """Return a case's LoRAs, after writing their files."""
        shapes = {part: {n: a.shape for n, a in own.items()} for part, own in self._weights.items()}
        return [
            Weighted(
                read_lora(use.file.write(folder, shapes), self._targets),
                use.unet if self._component == "unet" else use.text,
            )
            for use in case.uses
        ]


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


def spec_with(case: LoraCase, engine: SdxlEngine) -> ImageSpec:
    """Return the spec of the cases' image with a case's LoRAs."""
    digests = {lora.name: lora.digest for lora in engine.capabilities.loras}
    loras = (
        LoraUse(use.file.name, digests[use.file.name], use.unet, use.text) for use in case.uses
    )
    return replace(IMAGE.spec(), loras=tuple(loras))

"""The layers of a model that a LoRA can change, by every name that files give them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from easel_worker.sdxl.folder.original_names import original_keys
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.params import Param, declared
from easel_worker.sdxl.model.text_encoder import PREFIX, TextEncoder
from easel_worker.sdxl.model.unet import UNet

UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"

COMPONENTS = (UNET, TEXT, TEXT_2)
"""The parts of a model that a LoRA can change."""

_DOTTED = {UNET: "unet.", TEXT: "text_encoder.", TEXT_2: "text_encoder_2."}
"""What the names of layers begin with, where the rest has dots."""

_DOTTED_ORIGINAL = ("diffusion_model.", "model.diffusion_model.")
"""The same before the UNet's names in the original layout."""

_UNDERSCORED = {
    UNET: ("lora_unet_", "lycoris_"),
    TEXT: ("lora_te1_", "lora_te_"),
    TEXT_2: ("lora_te2_",),
}
"""The same where the rest has underscores for dots."""

_OLD_ATTENTION = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
"""How the first releases of diffusers named a text encoder's attention, and its names today."""


@dataclass(frozen=True)
class Target:
    """A layer of the model.

    Attributes:
        component: of `COMPONENTS`.
        module: the layer's name in a diffusers checkpoint.
        weight: its weight's declaration.
        bias: its bias's declaration; None without a bias.
    """

    component: str
    module: str
    weight: Param
    bias: Param | None


class ParamKey(NamedTuple):
    """Identifies a parameter of the model."""

    component: str
    name: str


class Targets:
    """Finds the layer that a LoRA's tensor is for."""

    def __init__(self, config: SdxlConfig) -> None:
        """Args: `config` is the model's."""
        self._by_name: dict[str, Target] = {}
        for component, tree in declarations(config).items():
            self._add(component, declared(tree))

    def find(self, layer: str) -> Target | None:
        """The layer with one of its names in files; None if the model has no such layer."""
        return next(
            (found for name in _spellings(layer) if (found := self._by_name.get(name))), None
        )

    def _add(self, component: str, params: list[Param]) -> None:
        by_name = {param.name: param for param in params}
        original = original_keys(component, "", params) if component == UNET else {}
        for param in params:
            module, _, leaf = param.name.rpartition(".")
            if leaf != "weight" or not module:
                continue
            target = Target(component, module, param, by_name.get(f"{module}.bias"))
            for name in _names(component, param, original):
                self._by_name.setdefault(name, target)


def declarations(config: SdxlConfig) -> Mapping[str, UNet | TextEncoder]:
    """The declarations of each of `COMPONENTS`."""
    return {
        UNET: UNet.declare(config.unet),
        **({} if config.text_encoder is None else {TEXT: TextEncoder.declare(config.text_encoder)}),
        TEXT_2: TextEncoder.declare(config.text_encoder_2),
    }


def _names(component: str, param: Param, original: Mapping[str, str]) -> Iterator[str]:
    modules = [_module(name) for name in (param.name, *param.aliases)]
    if component != UNET:
        modules += [module.removeprefix(PREFIX) for module in modules]
    for module in modules:
        yield f"{_DOTTED[component]}{module}"
        yield from (f"{p}{module.replace('.', '_')}" for p in _UNDERSCORED[component])
    if param.name in original:
        module = _module(original[param.name])
        yield from (f"{prefix}{module}" for prefix in _DOTTED_ORIGINAL)
        yield from (f"{p}{module.replace('.', '_')}" for p in _UNDERSCORED[component])


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _spellings(layer: str) -> Iterator[str]:
    """A layer's name, and today's names for one of an older release of diffusers."""
    yield layer
    plain = layer.replace(".processor.", ".")
    yield plain
    if plain.endswith(".to_out"):
        yield f"{plain}.0"
    before, _, last = plain.rpartition(".")
    if last in _OLD_ATTENTION:
        yield f"{before}.{_OLD_ATTENTION[last]}"

"""Images with LoRAs to compare. No torch."""

from dataclasses import dataclass

from parity import cases
from parity.loras.files import FILES, LoraFile
from parity.pipeline.cases import PipelineCase


@dataclass(frozen=True)
class Use:
    """A LoRA of an image, with its weights for the UNet and for the text encoders."""

    file: LoraFile
    unet: float = 1.0
    text: float = 1.0


@dataclass(frozen=True)
class LoraCase:
    """An image with LoRAs; `uses` have one reference library in common."""

    name: str
    uses: tuple[Use, ...]

    @property
    def reference(self) -> str:
        """The library to compare with."""
        [library] = {use.file.reference for use in self.uses}
        return library


IMAGE = PipelineCase("loras", cases.SDXL_BASE_IN_SMALL, steps=4, negative="blurry")
"""The image that all cases make."""


def _use(name: str, unet: float = 1.0, text: float = 1.0) -> Use:
    return Use(FILES[name], unet, text)


def _case(*uses: Use) -> LoraCase:
    name = " ".join(f"{use.file.name} {use.unet:g} {use.text:g}" for use in uses)
    return LoraCase(name, uses)


LORA_CASES = (
    _case(_use("peft", 0.8, 0.6)),
    _case(_use("peft-alpha")),
    _case(_use("peft-all", 0.5, 0.5)),
    _case(_use("peft-dora")),
    _case(_use("peft-dora", 0.6, 0.6)),
    _case(_use("old-diffusers", 0.9, 0.0)),
    _case(_use("kohya", -0.7, -0.7)),
    _case(_use("kohya-locon", 0.8, 1.2)),
    _case(_use("kohya-original", 0.0, 1.0)),
    _case(_use("kohya-original-locon", 0.7, 0.7)),
    _case(_use("peft", 0.5, 0.5), _use("kohya-original-locon", -0.4, 0.3)),
    _case(_use("locon-tucker")),
    _case(_use("lycoris-dora")),
    _case(_use("lycoris-input-dora")),
    _case(_use("loha", 0.8, 0.8)),
    _case(_use("loha-tucker")),
    _case(_use("lokr", -0.5, -0.5)),
    _case(_use("lokr-whole")),
    _case(_use("lokr-tucker")),
    _case(_use("lokr-factored")),
    _case(_use("full", 0.7, 0.7)),
    _case(_use("full-biased")),
    _case(_use("norm", 0.6, 0.6)),
    _case(_use("loha", 0.4, 0.4), _use("lokr", 0.6, 0.6)),
)

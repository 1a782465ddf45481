"""The engine's options: those of the `sdxl` engine that it can follow, and its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from easel_worker import parse
from easel_worker.options import Option
from easel_worker.sdxl.serving.options import Options as SdxlOptions

ATTENTIONS = ("dot_product", "flash", "tokamax_flash")

_OURS_ONLY = (
    "quantization",
    "calibration",
    "max_cache_interval",
    "loras",
    "controlnets",
    "ip_adapters",
    "refiner",
)
"""Options that change or need our UNet."""


@dataclass(frozen=True)
class Options(SdxlOptions):
    """Options of the `sdxl` engine and of MaxDiffusion's UNet."""

    maxdiffusion: Annotated[
        Path | None,
        Option(
            parse.folder,
            "MaxDiffusion engine: a checkout of MaxDiffusion (default: the package maxdiffusion "
            "that is installed in the worker's Python)",
        ),
    ] = None

    maxdiffusion_attention: Annotated[
        str,
        Option(
            parse.choice(*ATTENTIONS),
            "MaxDiffusion engine: its attention_kernel; dot_product is its default, the others are "
            "kernels for TPUs, on one device",
        ),
    ] = "dot_product"

    maxdiffusion_flash_min_tokens: Annotated[
        int,
        Option(
            parse.positive,
            "MaxDiffusion engine: its flash_min_seq_length; attention over fewer tokens is "
            "dot_product",
        ),
    ] = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.maxdiffusion_attention not in ATTENTIONS:
            known = ", ".join(ATTENTIONS)
            raise ValueError(
                f"maxdiffusion_attention is {self.maxdiffusion_attention!r}: choose one of {known}"
            )
        for name in _OURS_ONLY:
            if (value := getattr(self, name)) != getattr(SdxlOptions, name):
                raise ValueError(
                    f"{name} is {value}, which the engine maxdiffusion does not have: leave out "
                    f"{name.upper()}, or set ENGINE to sdxl"
                )

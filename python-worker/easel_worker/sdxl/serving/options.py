"""The engine's options: what the operator may choose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from easel_worker import parse
from easel_worker.engine import Limits
from easel_worker.engine_options import (
    CONTROLNETS,
    EMBEDDINGS,
    IMAGE_INPUTS,
    IP_ADAPTERS,
    LORA_SETS,
    LORAS,
    MAX_CACHE_INTERVAL,
    MAX_PROMPT_CHUNKS,
    REFINER,
    ROWS,
    SIZES,
)
from easel_worker.options import Option
from easel_worker.sdxl.model.kernel_options import CHOICES, check
from easel_worker.values import Size

# Reading options and --help must not take the seconds that jax does.
if TYPE_CHECKING:
    import jax

DTYPES = ("auto", "bfloat16", "float32")
QUANTIZATIONS = ("none", "int8")

_LIMITS = Limits(max_steps=100, max_guidance_scale=30.0, max_images=8, max_loras=8, max_controls=2)


@dataclass(frozen=True)
class Options:
    """Options with defaults for any model. `resolve` works out what they mean on given devices.

    The last three fields have no flag: programs set them, not operators.

    Attributes:
        vae_dtype: ignores `force_upcast` in a VAE's configuration: that is about float16, whose
            range such a VAE exceeds; bfloat16 has float32's range.
        quantization: see the package `quantization`.
        calibration: None for the file in the model's folder.
        sizes: the sizes to compile for besides the model's default size.
        rows: None for 32 for each device.
        split_guidance: does not change the number of images a second.
        methods: see `model.kernel_options`.
        artifacts: see the module `artifacts`.
        max_cache_interval: above 1, full steps also return their deep feature.
        more_schedulers: see `model_defaults`.
        loras: see the package `lora`.
        lora_sets: see `adapters`.
        embeddings: see `folder.embedding_file`.
        controlnets: see `folder.control_files`.
        ip_adapters: see `folder.ip_adapter`.
        refiner: see `refiner_files`.
        compile_cache: `build` applies it to the whole process; the engine does not read it.
        devices: the devices to run on; None for all.
        limits: the most that a request may ask for.
        compile_behind: `warm` returns once the default size is compiled; a thread compiles the
            other programs while images are made.
    """

    dtype: Annotated[
        str,
        Option(
            parse.choice(*DTYPES),
            "the number format of the model: auto (bfloat16; float32 on CPUs), bfloat16 or float32",
        ),
    ] = "auto"

    vae_dtype: Annotated[
        str,
        Option(
            parse.choice(*DTYPES),
            "the number format of the model's VAE; auto: that of the rest of the model",
        ),
    ] = "auto"

    vae_tile: Annotated[
        int,
        Option(
            parse.count,
            "decode images in overlapping tiles of this many pixels a side, as diffusers' "
            "enable_tiling does: needs less memory and changes the picture a little; "
            "0 decodes the whole image at once",
        ),
    ] = 0

    quantization: Annotated[
        str,
        Option(
            parse.choice(*QUANTIZATIONS),
            "int8 computes the UNet's linear layers, and its convolutions below full resolution, "
            "in 8 bits, which changes images a little; it needs a calibration",
        ),
    ] = "none"

    calibration: Annotated[
        Path | None,
        Option(
            Path,
            "the calibration file for int8, made by `npm run calibrate` (default: "
            "int8_calibration.safetensors in the model's folder)",
        ),
    ] = None

    vae: Annotated[
        Path | None,
        Option(Path, "a VAE that replaces the model's: a diffusers folder, or a safetensors file"),
    ] = None

    unet: Annotated[
        Path | None,
        Option(
            Path,
            "a UNet that replaces the model's, such as SDXL-Lightning's: a diffusers folder, or a "
            "safetensors file with the model's architecture",
        ),
    ] = None

    sizes: Annotated[Sequence[Size] | None, SIZES] = None

    rows: Annotated[int | None, ROWS] = None

    batch_lanes: Annotated[
        Sequence[int],
        Option(
            parse.counts,
            "how many images a device computes in one call, such as 1,2,4; each count is a program "
            "of its own, and with several counts an image's last bits may depend on the load",
        ),
    ] = (1,)

    split_guidance: Annotated[
        bool,
        Option(
            parse.switch,
            "two devices share a guided image: halves its time; images per second stay the same",
        ),
    ] = False

    max_cache_interval: Annotated[int, MAX_CACHE_INTERVAL] = 1

    max_prompt_chunks: Annotated[int, MAX_PROMPT_CHUNKS] = 2

    more_schedulers: Annotated[
        bool,
        Option(
            parse.switch,
            "also offer the schedulers that use two earlier predictions, such as unipc and "
            "dpmpp_3m_sde; an image in flight then holds a third array of latents (256 KiB more at "
            "1024x1024, which each step reads and writes); a model whose default scheduler is one "
            "of them offers them without this option",
        ),
    ] = False

    image_inputs: Annotated[bool, IMAGE_INPUTS] = True

    loras: Annotated[Path | None, LORAS] = None

    lora_sets: Annotated[int, LORA_SETS] = 1

    embeddings: Annotated[Path | None, EMBEDDINGS] = None

    controlnets: Annotated[Path | None, CONTROLNETS] = None

    ip_adapters: Annotated[Path | None, IP_ADAPTERS] = None

    refiner: Annotated[Path | None, REFINER] = None

    methods: Annotated[
        str,
        Option(
            parse.choice(*CHOICES),
            "how to compute attention, convolutions and int8 layers: plain (JAX), fast (on TPUs "
            "our kernels, which have not run on a real TPU yet; on NVIDIA GPUs cuDNN's "
            "attention), or auto (fast on TPUs and NVIDIA GPUs)",
        ),
    ] = "auto"

    artifacts: Annotated[
        Path | None,
        Option(
            Path,
            "a folder of programs written by easel-compile; the worker compiles those that do not "
            "fit, and logs why",
        ),
    ] = None

    compile_cache: Annotated[
        Path | None,
        Option(Path, "a folder where compiled programs are kept for the next start"),
    ] = None

    devices: "Sequence[jax.Device] | None" = None
    limits: Limits = _LIMITS
    compile_behind: bool = False

    def __post_init__(self) -> None:
        for name in ("dtype", "vae_dtype"):
            value = getattr(self, name)
            if value not in DTYPES:
                raise ValueError(f"{name} is {value!r}: choose one of {', '.join(DTYPES)}")
        if self.quantization not in QUANTIZATIONS:
            known = ", ".join(QUANTIZATIONS)
            raise ValueError(f"quantization is {self.quantization!r}: choose one of {known}")
        check(self.methods)
        if not self.batch_lanes or min(self.batch_lanes) < 1:
            raise ValueError(f"batch_lanes is {self.batch_lanes!r}: choose counts of 1 or more")
        if self.max_cache_interval < 1:
            raise ValueError(
                f"max_cache_interval is {self.max_cache_interval}: choose 1 (off) or more"
            )
        if self.max_prompt_chunks < 1:
            raise ValueError(f"max_prompt_chunks is {self.max_prompt_chunks}: choose 1 or more")
        if self.lora_sets < 1:
            raise ValueError(f"lora_sets is {self.lora_sets}: choose 1 or more")
        if self.ip_adapters is not None and self.quantization != "none":
            raise ValueError(
                "ip_adapters changes what the linear layers get, and the calibration for "
                f"{self.quantization} was made without it: leave out IP_ADAPTERS, or set "
                "QUANTIZATION to none"
            )
        if self.devices is not None and not self.devices:
            raise ValueError("devices is empty: name one, or leave it out for all")

    @property
    def caching(self) -> bool:
        """Whether steps may reuse the deep feature of earlier ones."""
        return self.max_cache_interval > 1

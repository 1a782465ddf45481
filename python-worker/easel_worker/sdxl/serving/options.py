"""How to serve a model: the choices that are the operator's, whatever the devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from easel_worker import parse
from easel_worker.engine import Limits
from easel_worker.engine_options import MAX_CACHE_INTERVAL, ROWS, SIZES
from easel_worker.options import Option
from easel_worker.sdxl.model.methods import CHOICES, choose

# Reading options and --help must not take the seconds that jax does.
if TYPE_CHECKING:
    import jax

DTYPES = ("auto", "bfloat16", "float32")
QUANTIZATIONS = ("none", "int8")

_LIMITS = Limits(max_steps=100, max_guidance_scale=30.0, max_images=8)


@dataclass(frozen=True)
class Options:
    """Choices, with defaults for any model. What they come to on its devices, `resolve` says.

    Attributes:
        vae_dtype: (`force_upcast` in a VAE's configuration is about float16, whose range it leaves.
            bfloat16 has float32's.)
        quantization: see `int8`.
        calibration: None for the model's own.
        sizes: what to compile for besides the model's default size.
        rows: None for 32 for each device.
        split_guidance: there are as many images a second as without.
        methods: see `methods`.
        artifacts: see `artifacts`.
        max_cache_interval: above 1, whole steps also give their deep feature.
        compile_cache: what `build` sets for the process; no part of the engine reads it.
        devices: what to run on; None for all devices. This and what follows are the program's, not
            the operator's.
        limits: the most that a request may ask for.
        compile_behind: sizes other than the default are compiled while images of it are made
            already; without, before any.
    """

    dtype: Annotated[
        str,
        Option(
            parse.choice(*DTYPES),
            "what the model computes in: auto (bfloat16; float32 on CPUs), bfloat16 or float32",
        ),
    ] = "auto"

    vae_dtype: Annotated[
        str,
        Option(
            parse.choice(*DTYPES),
            "what the model's VAE computes in: auto is as the rest of the model",
        ),
    ] = "auto"

    vae_tile: Annotated[
        int,
        Option(
            parse.count,
            "decode images in overlapping tiles of so many pixels a side, as diffusers' "
            "enable_tiling does: less memory at once, and a picture that is nearly the same; "
            "0 decodes all at once",
        ),
    ] = 0

    quantization: Annotated[
        str,
        Option(
            parse.choice(*QUANTIZATIONS),
            "int8 computes the UNet's linear layers in 8 bits, which changes images a little; "
            "it needs a calibration",
        ),
    ] = "none"

    calibration: Annotated[
        Path | None,
        Option(
            Path,
            "the calibration for int8, as `npm run calibrate` makes it (default: the file "
            "int8_calibration.safetensors in the model's folder)",
        ),
    ] = None

    sizes: Annotated[Sequence[tuple[int, int]] | None, SIZES] = None

    rows: Annotated[int | None, ROWS] = None

    batch_lanes: Annotated[
        Sequence[int],
        Option(
            parse.counts,
            "how many images a device computes in one call, such as 1,2,4, a program for each; "
            "with several counts an image's last bits may depend on how many others there are",
        ),
    ] = (1,)

    split_guidance: Annotated[
        bool,
        Option(
            parse.switch,
            "two devices share a guided image, which halves its time but not the time of many",
        ),
    ] = False

    max_cache_interval: Annotated[int, MAX_CACHE_INTERVAL] = 1

    methods: Annotated[
        str,
        Option(
            parse.choice(*CHOICES),
            "how the heavy parts are computed: plain JAX, fast for TPUs (kernels of our own, not "
            "yet run on one), or auto (fast on TPUs)",
        ),
    ] = "auto"

    artifacts: Annotated[
        Path | None,
        Option(
            Path,
            "a folder of programs that easel-compile made ahead; those that do not fit are "
            "compiled anew, and the log says why",
        ),
    ] = None

    compile_cache: Annotated[
        Path | None,
        Option(Path, "a folder that keeps compiled programs from one start to the next"),
    ] = None

    devices: "Sequence[jax.Device] | None" = None
    limits: Limits = _LIMITS
    compile_behind: bool = False

    def __post_init__(self) -> None:
        for name in ("dtype", "vae_dtype"):
            value = getattr(self, name)
            if value not in DTYPES:
                raise ValueError(f"{name} is {value!r}: choose {', '.join(DTYPES)}")
        if self.quantization not in QUANTIZATIONS:
            known = ", ".join(QUANTIZATIONS)
            raise ValueError(f"quantization is {self.quantization!r}: choose {known}")
        choose(self.methods, "cpu")
        if not self.batch_lanes or min(self.batch_lanes) < 1:
            raise ValueError(f"batch_lanes is {self.batch_lanes!r}: choose counts of 1 or more")
        if self.max_cache_interval < 1:
            raise ValueError(f"max_cache_interval is {self.max_cache_interval}: 1 is off")
        if self.devices is not None and not self.devices:
            raise ValueError("devices is empty: name one, or leave it out for all")

    @property
    def caching(self) -> bool:
        """Whether steps can be computed over the deep feature of earlier ones."""
        return self.max_cache_interval > 1

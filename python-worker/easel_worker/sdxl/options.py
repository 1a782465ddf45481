"""How to serve a model: the choices that are the operator's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike

from easel_worker.engine import Limits
from easel_worker.sdxl import calibration, methods
from easel_worker.sdxl.lanes import LaneCounts
from easel_worker.sdxl.methods import Methods
from easel_worker.sdxl.model import Dtypes
from easel_worker.sdxl.programs import Size
from easel_worker.sdxl.sharding import make_mesh

_DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

QUANTIZATIONS = ("none", "int8")

_ROWS_PER_DEVICE = 32
"""Sixteen guided images: at 80 % load hardly one waits for its first step (docs/adr/0005)."""


_LIMITS = Limits(max_steps=100, max_guidance_scale=30.0, max_images=8)


@dataclass(frozen=True)
class Options:
    """Choices, with defaults for any model.

    Attributes:
        dtype: "float32", "bfloat16" or "auto": bfloat16, but float32 on CPUs.
        vae_dtype: the same for the VAE; "auto" is what the rest computes in. (`force_upcast` in a
            VAE's configuration is about float16, whose range it leaves. bfloat16 has float32's.)
        quantization: "none", or "int8": the UNet's linear layers in 8 bits, see `int8`.
        calibration: the file that int8 needs; None for the model's own.
        vae_tile: pixels along the sides of tiles to decode images in; 0 for all at once.
        sizes: what to compile for besides the model's default size; None for the sizes that the
            model names.
        devices: what to run on; None for all devices.
        rows: how many rows a step takes; None for 32 for each device.
        batch_lanes: how many lanes a device computes in one call, a program for each choice. With
            others than 1, the last bits of an image may depend on how many others there are.
        limits: the most that a request may ask for.
        split_guidance: two devices share a guided image, which then takes about half of the time;
            there are as many images a second as without.
        methods: how the heavy parts are computed: "auto", "plain" or "fast"; see `methods`.
        artifacts: a folder of programs that were compiled ahead; see `artifacts`.
        max_cache_interval: the most that a request's cache_interval may be. Above 1 there are more
            programs, and whole steps also give their deep feature.
        compile_behind: sizes other than the default are compiled while images of it are made
            already; without, before any.
    """

    dtype: str = "auto"
    vae_dtype: str = "auto"
    vae_tile: int = 0
    quantization: str = "none"
    calibration: Path | None = None
    sizes: Sequence[tuple[int, int]] | None = None
    devices: Sequence[jax.Device] | None = None
    rows: int | None = None
    batch_lanes: Sequence[int] = (1,)
    limits: Limits = _LIMITS
    split_guidance: bool = False
    methods: str = "auto"
    artifacts: Path | None = None
    max_cache_interval: int = 1
    compile_behind: bool = False

    def __post_init__(self) -> None:
        for name in ("dtype", "vae_dtype"):
            value = getattr(self, name)
            if value != "auto" and value not in _DTYPES:
                raise ValueError(f"{name} is {value!r}: choose auto, {', '.join(_DTYPES)}")
        if self.quantization not in QUANTIZATIONS:
            known = ", ".join(QUANTIZATIONS)
            raise ValueError(f"quantization is {self.quantization!r}: choose {known}")
        methods.choose(self.methods, "cpu")
        if not self.batch_lanes or min(self.batch_lanes) < 1:
            raise ValueError(f"batch_lanes is {self.batch_lanes!r}: choose counts of 1 or more")
        if self.rows is not None and self.rows < 2:
            raise ValueError(f"rows is {self.rows}: a guided image needs 2")
        if self.max_cache_interval < 1:
            raise ValueError(f"max_cache_interval is {self.max_cache_interval}: 1 is off")
        if self.devices is not None and not self.devices:
            raise ValueError("devices is empty: name one, or leave it out for all")

    def chosen_devices(self) -> tuple[jax.Device, ...]:
        """The devices to run on."""
        return tuple(jax.devices()) if self.devices is None else tuple(self.devices)

    def mesh(self) -> Mesh:
        """The devices as arrays are split over them."""
        return make_mesh(self.chosen_devices(), split_guidance=self.split_guidance)

    def chosen_dtypes(self) -> Dtypes:
        """What the parts of the model compute in."""
        on_cpu = self.chosen_devices()[0].platform == "cpu"
        automatic = jnp.float32 if on_cpu else jnp.bfloat16
        model = _DTYPES.get(self.dtype, automatic)
        return Dtypes(model, _DTYPES.get(self.vae_dtype, model), int8=self.quantization == "int8")

    def vae_tile_latents(self, scale: int) -> int | None:
        """Latents along a tile's sides, for so many pixels a latent; None for no tiles.

        Raises:
            ValueError: tiles do not end between latents, or are too small to overlap.
        """
        if self.vae_tile == 0:
            return None
        if self.vae_tile % (4 * scale):
            raise ValueError(f"vae_tile is {self.vae_tile}: it must be a multiple of {4 * scale}")
        return self.vae_tile // scale

    def calibration_file(self, folder: Path) -> Path | None:
        """Where the model in a folder has its calibration; None where it is not quantised."""
        if self.quantization == "none":
            return None
        return self.calibration or folder / calibration.FILE

    def chosen_methods(self) -> Methods:
        """How the heavy parts of the model are computed."""
        return methods.choose(self.methods, self.chosen_devices()[0].platform)

    @property
    def caching(self) -> bool:
        """Whether steps can be computed over the deep feature of earlier ones."""
        return self.max_cache_interval > 1

    def chosen_rows(self) -> int:
        """How many rows a step takes."""
        return self.rows or _ROWS_PER_DEVICE * len(self.chosen_devices())

    def lane_counts(self) -> LaneCounts:
        """How many lanes the denoising programs take on all devices together."""
        devices = len(self.chosen_devices())
        counts = sorted(set(self.batch_lanes))
        shared = devices // 2 if self.split_guidance else devices
        return LaneCounts(
            guided=tuple(count * shared for count in counts),
            unguided=tuple(count * devices for count in counts),
        )

    def chosen_sizes(self, preferred: Sequence[Size]) -> tuple[Size, ...]:
        """The sizes to compile for, the default first.

        Args:
            preferred: the model's, its default first.
        """
        others = preferred if self.sizes is None else [Size(*size) for size in self.sizes]
        return tuple(dict.fromkeys([preferred[0], *others]))

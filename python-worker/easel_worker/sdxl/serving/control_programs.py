"""The pure functions that make of pictures what is added in the UNet, and their programs.

A net's parameters are arguments, so nets of one architecture share their programs. Scales are
arguments too: a net that does not take part in a step has a scale of 0, and then adds nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike, DTypeLike

from easel_worker.sdxl.folder.control_files import declare
from easel_worker.sdxl.folder.weights import abstract
from easel_worker.sdxl.model.additions import (
    Additions,
    Residuals,
    Shape,
    feature_shapes,
    residual_shapes,
)
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.controlnet import ControlNet, ControlNetConfig, PictureEmbedding
from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.kernel_options import KernelOptions
from easel_worker.sdxl.model.t2i_adapter import AdapterConfig, T2IAdapter
from easel_worker.sdxl.serving.compilation import Program
from easel_worker.sdxl.serving.programs import (
    GUIDED_ROWS,
    Conditions,
    latent_shape,
)
from easel_worker.sdxl.serving.sharding import (
    BY_LANE,
    BY_LANE_AND_ROW,
    BY_LANE_EVERYWHERE,
    WHOLE,
)
from easel_worker.values import Size

Compile = Callable[..., Program]
"""Name, function and arguments → program."""

NetConfig = ControlNetConfig | AdapterConfig


class ControlLane(NamedTuple):
    """A lane's arrays for a ControlNet in one step.

    Attributes:
        sample: [h, w, channels].
        conditions: with the contexts themselves, [rows, tokens, features].
        picture: the embedded picture, [h, w, channels].
        before: what the image's other ControlNets add, [rows, h, w, channels] each.
    """

    sample: Array
    conditions: Conditions
    picture: Array
    before: Residuals


class ControlNumbers(NamedTuple):
    """The numbers of a step, [lanes] each."""

    timestep: ArrayLike
    scale: ArrayLike


def embed_picture(net: PictureEmbedding, pixels: Array) -> Array:
    """A picture [H, W, 3], uint8, → the embedded picture [h, w, channels]."""
    return net((pixels.astype(jnp.float32) / 255.0)[None])[0]


def adapt_picture(net: T2IAdapter, pixels: Array, *, count: int) -> tuple[Array, ...]:
    """A picture [H, W, 3], uint8, → the first `count` of a T2I-Adapter's features [h, w, channels].

    A UNet without a middle block takes one less than other UNets.
    """
    if net.config.inputs == 1:
        pixels = _grey(pixels)
    return tuple(each[0] for each in net((pixels.astype(jnp.float32) / 255.0)[None])[:count])


def _grey(pixels: Array) -> Array:
    """RGB [H, W, 3] → shades of grey [H, W, 1], as Pillow's convert("L") rounds them.

    https://github.com/python-pillow/Pillow/blob/12.0.0/src/libImaging/Convert.c
    """
    red, green, blue = (pixels[..., i : i + 1].astype(jnp.int32) for i in range(3))
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def add_features(
    before: tuple[Array, ...], features: tuple[Array, ...], scale: Array
) -> tuple[Array, ...]:
    """The features of several T2I-Adapters, each times its scale, one after the other.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/adapter.py#L97
    """
    return tuple(
        _added(one, more, scale.astype(more.dtype))
        for one, more in zip(before, features, strict=True)
    )


def add_residuals(
    net: ControlNet, lanes: tuple[ControlLane, ...], numbers: ControlNumbers, *, mesh: Mesh
) -> tuple[Residuals, ...]:
    """What a ControlNet adds in a step to lanes of one size, besides what others add.

    The lanes are placed on the devices as `programs.denoise` places them. A lane with a scale of 0
    keeps what it had.

    Args:
        net: the ControlNet.
        lanes: either all guided or none.
        numbers: the step's numbers.
        mesh: the devices.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/controlnets/multicontrolnet.py#L71
    """
    guided = lanes[0].conditions.pooled.shape[0] == GUIDED_ROWS

    def on_each_device(net: ControlNet, arrays: Any, numbers: ControlNumbers) -> Residuals:
        lanes = ControlLane(*arrays)
        count, rows = lanes.conditions.pooled.shape[:2]
        conditions = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), lanes.conditions)
        made = net(
            jnp.repeat(lanes.sample, rows, axis=0),
            jnp.repeat(jnp.asarray(numbers.timestep), rows),
            conditions.context,
            conditions.pooled,
            conditions.time_ids,
            picture=jnp.repeat(lanes.picture, rows, axis=0),
        )
        scale = jnp.asarray(numbers.scale)[:, None, None, None, None]

        def added(before: Array, made: Array) -> Array:
            by_lane = made.reshape(count, rows, *made.shape[1:])
            return _added(before, by_lane, scale.astype(made.dtype))

        residuals: Residuals = jax.tree.map(added, lanes.before, made)
        return residuals

    stacked: ControlLane = jax.tree.map(lambda *arrays: jnp.stack(arrays), *lanes)
    each = BY_LANE if guided else BY_LANE_EVERYWHERE
    rows = BY_LANE_AND_ROW if guided else BY_LANE_EVERYWHERE
    made = jax.shard_map(
        on_each_device,
        mesh=mesh,
        in_specs=(WHOLE, (each, rows, each, rows), each),
        out_specs=rows,
        check_vma=False,  # kernels' results do not declare over which axes they vary
    )(net, tuple(stacked), numbers)
    return tuple(jax.tree.map(lambda a, i=i: a[i], made) for i in range(len(lanes)))


def _added(before: Array, made: Array, scale: Array) -> Array:
    """Without the condition, numbers that are not finite would spoil lanes without the net."""
    return jnp.where(scale == 0, before, before + scale * made)


class StepKind(NamedTuple):
    """What the lanes of a call have in common."""

    size: Size
    lanes: int
    guided: bool
    chunks: int


class ControlPrograms:
    """Compiles these programs for each architecture of the operator's nets, and holds them."""

    def __init__(
        self,
        config: SdxlConfig,
        nets: Sequence[NetConfig],
        mesh: Mesh,
        compile_: Compile,
        *,
        dtype: DTypeLike,
        kernel_options: KernelOptions,
    ) -> None:
        """Args:

        config: the model's configuration.
        nets: the configurations of the nets, each once.
        mesh: the devices.
        compile_: compiles a program.
        dtype: of the nets.
        kernel_options: the kernels of the nets.
        """
        self._config = config
        self._mesh = mesh
        self._compile = compile_
        self._dtype = dtype
        self._nets: dict[NetConfig, Any] = {
            each: bind(abstract(declare(each), dtype), kernel_options) for each in nets
        }
        self._picture: dict[tuple[NetConfig, Size], Program] = {}
        self._nothing: dict[tuple[Size, int], Program] = {}
        self._features: dict[Size, Program] = {}
        self._residuals: dict[tuple[NetConfig, StepKind], Program] = {}

    def add_size(self, size: Size) -> None:
        """Compile what images of a size need besides their steps."""
        pixels = np.zeros((size.height, size.width, 3), np.uint8)
        for number, (config, net) in enumerate(self._nets.items()):
            function = self._picture_function(net)
            own = picture_part(net)
            name = f"control picture {size} of net {number}"
            self._picture[config, size] = self._compile(name, function, own, pixels)
        for rows in (2, 1):
            nothing = partial(_zeros, self.shapes(size, rows))
            self._nothing[size, rows] = self._compile(f"no control {size} x{rows}", nothing)
        features = self.shapes(size, 1).features
        if features is not None:
            name = f"control features {size}"
            self._features[size] = self._compile(name, add_features, features, features, _SCALE)

    def add_steps(self, kind: StepKind, sample: Any, conditions: Conditions) -> None:
        """Compile what steps of a kind need.

        Args:
            kind: what their lanes have in common.
            sample: the shape of a lane's sample.
            conditions: the shapes of a lane's conditions, with contexts.
        """
        before = self.shapes(kind.size, 2 if kind.guided else 1).residuals
        if before is None:
            return
        numbers = ControlNumbers(*[np.zeros(kind.lanes, np.float32)] * 2)
        height, width, _ = latent_shape(self._config, kind.size)
        for number, (config, net) in enumerate(self._nets.items()):
            if isinstance(config, ControlNetConfig):
                picture = _struct((height, width, config.unet.channels[0]), self._dtype)
                lane = ControlLane(sample, conditions, picture, before)
                self._residuals[config, kind] = self._compile(
                    f"control {_name(kind)} of net {number}",
                    partial(add_residuals, mesh=self._mesh),
                    net,
                    (lane,) * kind.lanes,
                    numbers,
                )

    def shapes(self, size: Size, rows: int) -> Additions:
        """Shapes and dtypes of a lane's additions: residuals [rows, h, w, channels], and features
        [h, w, channels].
        """
        height, width, _ = latent_shape(self._config, size)

        def struct(shape: Shape) -> Any:
            return _struct((rows, *shape), self._dtype)

        residuals = features = None
        if any(isinstance(each, ControlNetConfig) for each in self._nets):
            skips, mid = residual_shapes(self._config.unet, height, width)
            residuals = Residuals(tuple(map(struct, skips)), struct(mid))
        if any(isinstance(each, AdapterConfig) for each in self._nets):
            shapes = feature_shapes(self._config.unet, height, width)
            features = tuple(_struct(shape, self._dtype) for shape in shapes)
        return Additions(residuals, features)

    def _picture_function(self, net: ControlNet | T2IAdapter) -> Callable[..., Any]:
        if isinstance(net, ControlNet):
            return embed_picture
        unet = self._config.unet
        return partial(adapt_picture, count=len(unet.channels) + bool(unet.mid_resnets))

    def picture(self, config: NetConfig, size: Size) -> Callable[..., Any]:
        """`embed_picture` of a ControlNet's embedding, or `adapt_picture` of a T2I-Adapter."""
        return self._picture[config, size].run

    def nothing(self, size: Size, rows: int) -> Callable[[], Additions]:
        """A lane's additions, all zeros."""
        return self._nothing[size, rows].run

    def features(self, size: Size) -> Callable[..., tuple[Array, ...]]:
        """`add_features`."""
        return self._features[size].run

    def residuals(self, config: NetConfig, kind: StepKind) -> Callable[..., tuple[Residuals, ...]]:
        """`add_residuals` without its keyword."""
        return self._residuals[config, kind].run


_SCALE = np.float32(0)


def picture_part(net: ControlNet | T2IAdapter) -> PictureEmbedding | T2IAdapter:
    """The part of a net that `ControlPrograms.picture` takes."""
    return net.picture if isinstance(net, ControlNet) else net


def _zeros(shapes: Additions) -> Additions:
    made: Additions = jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), shapes)
    return made


def _struct(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _name(kind: StepKind) -> str:
    chunks = "" if kind.chunks == 1 else f" {kind.chunks} chunks"
    guided = "guided" if kind.guided else "unguided"
    return f"{kind.size} {guided} x{kind.lanes}{chunks}"

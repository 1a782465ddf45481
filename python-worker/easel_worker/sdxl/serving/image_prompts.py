"""Pictures as prompts: what an image's IP-Adapter makes of its picture, once.

Keys and values come ahead of all steps, also with several devices, where those of prompts do not: a
picture has few tokens. They are inputs of the steps' programs, so adapters share these, and need
the same number of tokens. An adapter with fewer repeats its own: repeated keys and values give each
of them a share of the attention's weights, and the same sum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Sharding
from jax.typing import DTypeLike

from easel_worker.engine import ImageSpec, InvalidRequest, IpAdapter, NotFinite
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import Weights
from easel_worker.sdxl.folder.ip_adapter import ENCODER, IpAdapterFiles, common_tokens, digests
from easel_worker.sdxl.folder.weights import Put
from easel_worker.sdxl.model import ip_adapter as model
from easel_worker.sdxl.model.config import UNetConfig, VisionConfig
from easel_worker.sdxl.model.params import count
from easel_worker.sdxl.model.unet import PromptContext
from easel_worker.sdxl.model.vision_encoder import VisionEncoder
from easel_worker.sdxl.serving.clip_pixels import clip_pixels
from easel_worker.sdxl.serving.compilation import Program
from easel_worker.sdxl.serving.programs import is_finite

Compile = Callable[..., Program]
"""Name, function and arguments → program."""

ROWS = (2, 1)


class PictureTokens(NamedTuple):
    """A picture's tokens [2, tokens, context], the negative's first, and whether all are finite."""

    tokens: Array
    finite: Array


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter and its encoder, on the devices."""

    listed: IpAdapter
    kind: "_Kind"
    params: model.IpAdapter
    encoder: VisionEncoder

    @property
    def name(self) -> str:
        """By which requests name it."""
        return self.listed.name


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """What an image's adapter makes of its picture, and how strong it is."""

    adapter: LoadedAdapter
    seen: PictureTokens
    scale: float

    def check(self) -> None:
        """Raises NotFinite if the picture's tokens are not finite."""
        if not np.asarray(self.seen.finite):
            raise NotFinite("text_encoder", ENCODER)


class _Kind(NamedTuple):
    """What adapters must have in common to share programs."""

    shape: model.Shape
    vision: VisionConfig


def load_adapter(
    files: IpAdapterFiles,
    unet: UNetConfig,
    dtype: DTypeLike,
    put: Put,
    report: Callable[[str], None],
    *,
    encoders: dict[str, VisionEncoder],
) -> LoadedAdapter:
    """Read the weights of an adapter, and of its encoder unless an equal one was read before.

    Args:
        files: the adapter.
        unet: of the model.
        dtype: to convert the weights to.
        put: places each array on the devices.
        report: called with a log line before each part.
        encoders: those that were read, by their digests; this one's is put in.

    Raises:
        WeightsError: see `weights.load`.
    """
    digest = digests(files)
    if digest.encoder not in encoders:
        tree = VisionEncoder.declare(files.vision)
        size = f"{count(tree) / 1e6:.1f} M parameters"
        report(f"loading the image encoder of {files.name}: {size}")
        source = Weights(files.encoder, ENCODER)
        encoders[digest.encoder] = weights.load(source, tree, dtype, put)
    adapter = model.IpAdapter.declare(files.shape, unet)
    report(f"loading the IP-Adapter {files.name}: {count(adapter) / 1e6:.1f} M parameters")
    params = weights.load(Weights(files.file, "ip_adapter"), adapter, dtype, put)
    listed = IpAdapter(files.name, digest.whole, files.shape.tokens)
    kind = _Kind(files.shape, files.vision)
    return LoadedAdapter(listed, kind, params, encoders[digest.encoder])


def look(adapter: model.IpAdapter, encoder: VisionEncoder, pixels: Array) -> PictureTokens:
    """The tokens of a picture.

    Args:
        adapter: makes them.
        encoder: reads the picture.
        pixels: of `clip_pixels`.
    """
    tokens = adapter.tokens(encoder, pixels)
    return PictureTokens(tokens, is_finite(tokens))


def project_picture(
    adapter: model.IpAdapter, tokens: Array, scale: Array, *, rows: int, times: int
) -> PromptContext:
    """The keys, and the values times scale, of each cross attention.

    Args:
        adapter: has the layers.
        tokens: of `look`.
        scale: the image's.
        rows: 2 for the negative and the picture, 1 for the picture alone.
        times: how often the tokens are repeated.
    """
    return adapter.project(jnp.tile(tokens[-rows:], (1, times, 1)), scale)


class ImagePromptPrograms:
    """Compiles these programs for each kind of the operator's adapters, and holds them."""

    def __init__(
        self,
        found: Sequence[IpAdapterFiles],
        unet: UNetConfig,
        compile_: Compile,
        *,
        dtype: DTypeLike,
    ) -> None:
        """Args:

        found: the adapters.
        unet: of the model.
        compile_: compiles a program.
        dtype: of the adapters.
        """
        tokens = common_tokens(found)
        self._look: dict[_Kind, Program] = {}
        self._project: dict[tuple[_Kind, int], Program] = {}
        self._shapes: dict[int, PromptContext] = {}
        kinds = dict.fromkeys(_Kind(files.shape, files.vision) for files in found)
        for number, kind in enumerate(kinds):
            adapter = weights.abstract(model.IpAdapter.declare(kind.shape, unet), dtype)
            encoder = weights.abstract(VisionEncoder.declare(kind.vision), dtype)
            pixels = np.zeros((kind.vision.side, kind.vision.side, 3), np.float32)
            name = f"of IP-Adapter {number}"
            self._look[kind] = compile_(f"picture {name}", look, adapter, encoder, pixels)
            seen: PictureTokens = jax.eval_shape(look, adapter, encoder, pixels)
            for rows in ROWS:
                project = partial(project_picture, rows=rows, times=tokens // kind.shape.tokens)
                arguments = (adapter, seen.tokens, np.float32(0))
                program = compile_(f"project picture x{rows} {name}", project, *arguments)
                self._project[kind, rows] = program
                self._shapes[rows] = jax.eval_shape(project, *arguments)

    def shapes(self, rows: int) -> PromptContext:
        """Shapes and dtypes of a picture's keys and values, the same for all adapters."""
        return self._shapes[rows]

    def look(self, kind: _Kind) -> Callable[..., PictureTokens]:
        """`look`."""
        return self._look[kind].run

    def project(self, kind: _Kind, rows: int) -> Callable[..., PromptContext]:
        """`project_picture` without its keywords."""
        return self._project[kind, rows].run


class ImagePrompts:
    """The operator's adapters, loaded and compiled."""

    def __init__(
        self,
        adapters: Sequence[LoadedAdapter],
        programs: ImagePromptPrograms,
        everywhere: Sharding,
    ) -> None:
        """Args:

        adapters: on the devices.
        programs: compiled.
        everywhere: the sharding of arrays.
        """
        self._by_name = {adapter.listed.name: adapter for adapter in adapters}
        self._programs = programs

        def zeros(each: Any) -> Array:
            placed: Array = jax.device_put(np.zeros(each.shape, each.dtype), everywhere)
            return placed

        self._nothing: dict[int, PromptContext] = {
            rows: jax.tree.map(zeros, programs.shapes(rows)) for rows in ROWS
        }

    def begin(self, spec: ImageSpec) -> SeenPicture | None:
        """Look at an image's picture; None for an image without one.

        Raises:
            InvalidRequest: its adapter is not here.
        """
        if not spec.ip_adapters:
            return None
        [use], [picture] = spec.ip_adapters, spec.ip_adapter_pictures
        adapter = self._by_name.get(use.name)
        if adapter is None or adapter.listed.digest != use.digest:
            raise InvalidRequest(f"the IP-Adapter {use.name} with digest {use.digest} is not here")
        pixels = clip_pixels(picture.pixels, adapter.kind.vision.side)
        seen = self._programs.look(adapter.kind)(adapter.params, adapter.encoder, pixels)
        return SeenPicture(adapter, seen, use.scale)

    def context(self, seen: SeenPicture | None, rows: int) -> PromptContext:
        """A picture's keys and values: for two rows, the negative first, or for the picture alone.

        Without a picture zeros, which add nothing: one copy for all images.
        """
        if seen is None:
            return self._nothing[rows]
        project = self._programs.project(seen.adapter.kind, rows)
        scale: Any = np.float32(seen.scale)
        return project(seen.adapter.params, seen.seen.tokens, scale)

"""All compiled programs of a model: those that fit any size, and a set for each size."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.folder.ip_adapter import IpAdapterFiles
from easel_worker.sdxl.folder.model import SdxlParams
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.kernel_options import KernelOptions
from easel_worker.sdxl.model.params import nbytes
from easel_worker.sdxl.model.text_encoder import TextEncoder, TextWithVectors
from easel_worker.sdxl.samplers.table import Coefficients
from easel_worker.sdxl.serving import programs
from easel_worker.sdxl.serving.compilation import Compiler, Program
from easel_worker.sdxl.serving.control_programs import ControlPrograms, NetConfig, StepKind
from easel_worker.sdxl.serving.image_prompts import ImagePromptPrograms
from easel_worker.sdxl.serving.lanes import LaneCounts
from easel_worker.sdxl.serving.merging import MergePrograms
from easel_worker.sdxl.serving.picture_programs import PicturePrograms
from easel_worker.sdxl.serving.programs import (
    Conditions,
    Decoded,
    Encoded,
    LaneInput,
    Prompt,
    State,
    StepNumbers,
    Stepped,
)
from easel_worker.sdxl.serving.sharding import replicated
from easel_worker.values import Size

_BEGIN_ARGUMENTS = (np.uint32(0), np.float32(0))


class DenoiseKey(NamedTuple):
    """Identifies a denoising program.

    Attributes:
        size: of the images.
        lanes: how many lanes it takes.
        guided: whether the lanes are guided.
        cached: whether it computes only the top level, over the deep feature of an earlier step.
        chunks: how many chunks the lanes' prompts have.
        conditioned: whether pictures add to the UNet.
    """

    size: Size
    lanes: int
    guided: bool
    cached: bool = False
    chunks: int = 1
    conditioned: bool = False

    def __str__(self) -> str:
        cached = " cached" if self.cached else ""
        cached = " conditioned" if self.conditioned else cached
        guided = "guided" if self.guided else "unguided"
        return f"{self.size} {guided}{cached} x{self.lanes}{_of_chunks(self.chunks)}"


class ProgramSet:
    """Compiles programs and holds them."""

    def __init__(
        self,
        config: SdxlConfig,
        params: SdxlParams,
        mesh: Mesh,
        tokens: tuple[int, int],
        *,
        compiler: Compiler,
        caching: bool = False,
        embeddings: bool = False,
        keep_older: bool = False,
        vae_tile: int | None = None,
    ) -> None:
        """Compile the programs that prompts of one chunk need for any size.

        Args:
            config: the model's configuration.
            params: its parameters, or only their shapes.
            mesh: the devices to compile for.
            tokens: how many ids a text has for each encoder.
            compiler: compiles or loads each program.
            caching: full steps return their deep feature, and cached steps get programs too.
            embeddings: the encoding of prompts takes vectors of embeddings: in every call one for
                each token of both text encoders, 0.6 MB for SDXL in float32.
            keep_older: states have room for samplers that use two earlier predictions.
            vae_tile: latents along a tile's sides, to decode in tiles; None to decode the whole.
        """
        self._config = config
        self._params = params
        self._mesh = mesh
        self._compiler = compiler
        self._caching = caching
        self._keep_older = keep_older
        self._vae_tile = vae_tile
        self._all: list[Program] = []
        self._lane_bytes = 0
        self._merge_infos: tuple[ProgramInfo, ...] = ()
        self.merges = MergePrograms(replicated(mesh))
        self.pictures = PicturePrograms(config, params.encoder, self._compile, keep_older)
        self._begin: dict[Size, Program] = {}
        self._inpainting: dict[Size, Any] = {}
        self._denoise: dict[DenoiseKey, Program] = {}
        self._deep: dict[tuple[Size, bool], Any] = {}
        self._forecast: dict[tuple[Size, bool], Program] = {}
        self._decode: dict[Size, Program] = {}
        self._preview: dict[Size, Program] = {}
        self._tokens = tokens
        self.no_vectors = _no_vectors(params, tokens) if embeddings else None
        ids = self.no_vectors or (_ids(tokens[0]), _ids(tokens[1]))
        self._texts = (*ids, np.int32(0))
        self._encode = self._compile("encode", programs.encode, params.text, *self._texts)
        encoded: Encoded = jax.eval_shape(programs.encode, params.text, *self._texts)
        self._prompt = encoded.prompt
        self._encode_masked: Program | None = None
        self._project: dict[tuple[int, int], Program] = {}
        self._conditions: dict[tuple[int, int], Conditions] = {}
        self._contexts: dict[tuple[int, int], Program] = {}
        self._add_projections(chunks=1)

    def add_masks(self) -> None:
        """Compile the encoding of prompts with hidden tokens."""
        seen = tuple(np.ones(tokens, np.bool_) for tokens in self._tokens)
        arguments = (self._params.text, *self._texts, seen)
        self._encode_masked = self._compile("encode masked", programs.encode, *arguments)

    def add_merges(self, params: Iterable[Any]) -> None:
        """Compile the programs that merge LoRAs into these parameters, which may be abstract."""
        self._merge_infos = (self.merges.compile(params),)

    def add_size(self, size: Size, lane_counts: LaneCounts) -> None:
        """Compile the programs that images of a size with prompts of one chunk need.

        Args:
            size: the images' size.
            lane_counts: how many lanes a denoising program takes; each count is a program.
        """
        begin = self._begin_function(size)
        state: State = jax.eval_shape(begin, *_BEGIN_ARGUMENTS)
        self._begin[size] = self._compile(f"begin {size}", begin, *_BEGIN_ARGUMENTS)
        if self._config.inpaints:
            self._inpainting[size] = self.pictures.add_inpainting(size).inputs
        self._add_steps(size, lane_counts, chunks=1)
        decode = partial(programs.decode, tile=self._vae_tile)
        name = f"decode {size}"
        self._decode[size] = self._compile(name, decode, self._params.vae, state.sample)
        self._add_preview(size, state)

    def add_chunks(self, size: Size, chunks: int, lane_counts: LaneCounts) -> None:
        """Compile the programs that longer prompts need, for a size that was added before.

        Args:
            size: the images' size.
            chunks: how many chunks the prompts have.
            lane_counts: see `add_size`.
        """
        if (1, chunks) not in self._project:
            self._add_projections(chunks)
        self._add_steps(size, lane_counts, chunks)

    def control_programs(
        self, nets: Sequence[NetConfig], *, kernel_options: KernelOptions
    ) -> ControlPrograms:
        """The programs of the operator's nets, not yet compiled for any size."""
        return ControlPrograms(
            self._config,
            nets,
            self._mesh,
            self._compile,
            dtype=self._params.unet.dtype,
            kernel_options=kernel_options,
        )

    def image_prompt_programs(self, found: Sequence[IpAdapterFiles]) -> ImagePromptPrograms:
        """The programs of the operator's IP-Adapters."""
        unet = self._params.unet
        return ImagePromptPrograms(found, self._config.unet, self._compile, dtype=unet.dtype)

    def add_conditioned(
        self,
        control: ControlPrograms | None,
        pictures: ImagePromptPrograms | None,
        size: Size,
        max_chunks: int,
        lane_counts: LaneCounts,
    ) -> None:
        """Compile what images with pictures that change the UNet need.

        Args:
            control: the programs of the nets, which are compiled with them; None without nets.
            pictures: the programs of IP-Adapters; None without adapters.
            size: the images' size; its programs for images without such pictures are compiled.
            max_chunks: the same of the most chunks that prompts have.
            lane_counts: see `add_size`.
        """
        if control is not None:
            control.add_size(size)
        for chunks in range(1, max_chunks + 1):
            self._add_conditioned(control, pictures, size, chunks, lane_counts)

    def _add_conditioned(
        self,
        control: ControlPrograms | None,
        pictures: ImagePromptPrograms | None,
        size: Size,
        chunks: int,
        lane_counts: LaneCounts,
    ) -> None:
        state: State = jax.eval_shape(self._begin_function(size), *_BEGIN_ARGUMENTS)
        denoise = partial(programs.denoise, mesh=self._mesh)
        for guided, counts in ((True, lane_counts.guided), (False, lane_counts.unguided)):
            rows = 2 if guided else 1
            conditions, inputs = self._conditions[rows, chunks], self._inpainting.get(size)
            lane = LaneInput(state, conditions, inpainting=inputs)
            if pictures is not None:
                with_picture = conditions._replace(picture=pictures.shapes(rows))
                lane = lane._replace(conditions=with_picture)
            if control is not None:
                contexts = self._add_contexts(rows, chunks)
                lane = lane._replace(additions=control.shapes(size, rows))
            for lanes in counts:
                key = DenoiseKey(size, lanes, guided, chunks=chunks, conditioned=True)
                self._compile_denoise(key, denoise, lane)
                if control is not None:
                    kind = StepKind(size, lanes, guided, chunks)
                    control.add_steps(kind, state.sample, contexts)

    def _add_contexts(self, rows: int, chunks: int) -> Conditions:
        """Compile `contexts`; returns the shapes of what it makes."""
        project = partial(programs.project, ahead=False)
        ids = np.zeros((rows, self._config.time_ids), np.float32)
        arguments = (self._params.unet, (self.prompt_shapes(chunks),) * rows, ids)
        if (rows, chunks) not in self._contexts:
            name = f"contexts x{rows}{_of_chunks(chunks)}"
            self._contexts[rows, chunks] = self._compile(name, project, *arguments)
        shapes: Conditions = jax.eval_shape(project, *arguments)
        return shapes

    def contexts(self, rows: int, chunks: int) -> Callable[..., Conditions]:
        """`programs.project` without keys and values, for one prompt or two."""
        return self._contexts[rows, chunks].run

    @property
    def keep_older(self) -> bool:
        """Whether states have room for samplers that use two earlier predictions."""
        return self._keep_older

    @property
    def infos(self) -> tuple[ProgramInfo, ...]:
        """The programs compiled so far, in order."""
        return (*(program.info for program in self._all), *self._merge_infos)

    def bytes_with(self, lanes: int) -> int:
        """Bytes of each device for lanes in flight, and for the program that needs most."""
        analysed = (program.run.memory_analysis() for program in self._all)  # type: ignore[attr-defined]
        working = (a.temp_size_in_bytes + a.output_size_in_bytes for a in analysed if a is not None)
        return lanes * self._lane_bytes + max(working, default=0)

    @property
    def encode(self) -> Callable[..., Encoded]:
        """`programs.encode`, which takes vectors of embeddings if `no_vectors` is there."""
        return self._encode.run

    @property
    def encode_masked(self) -> Callable[..., Encoded]:
        """`programs.encode` with `seen`; see `encode`.

        Raises:
            RuntimeError: it is not compiled yet.
        """
        if self._encode_masked is None:
            raise RuntimeError("the encoding of masked prompts is not compiled: call add_masks()")
        return self._encode_masked.run

    def project(self, rows: int, chunks: int) -> Callable[..., Conditions]:
        """`programs.project` for one prompt or two, without its keywords."""
        return self._project[rows, chunks].run

    def begin(self, size: Size) -> Callable[..., State]:
        """`programs.begin` without its keywords."""
        return self._begin[size].run

    def denoise(self, key: DenoiseKey) -> Callable[..., Stepped]:
        """`programs.denoise` without its keywords."""
        return self._denoise[key].run

    def deep(self, size: Size, *, guided: bool) -> jax.ShapeDtypeStruct | None:
        """The shape of a lane's deep feature; None if steps keep none."""
        return self._deep.get((size, guided))

    def forecast(self, size: Size, *, guided: bool) -> Callable[..., Array]:
        """`programs.forecast`."""
        return self._forecast[size, guided].run

    def decode(self, size: Size) -> Callable[..., Decoded]:
        """`programs.decode` without its keywords."""
        return self._decode[size].run

    def preview(self, size: Size) -> Callable[..., Decoded]:
        """`programs.preview` without its keywords."""
        return self._preview[size].run

    def prompt_shapes(self, chunks: int) -> Prompt:
        """Shapes and dtypes of an encoded prompt of this many chunks."""
        tokens, features = self._prompt.context.shape
        dtype = self._prompt.context.dtype
        shape: Any = jax.ShapeDtypeStruct((chunks * tokens, features), dtype)  # type: ignore[no-untyped-call]
        return self._prompt._replace(context=shape)

    def _add_projections(self, chunks: int) -> None:
        # Every device holds the arrays of all lanes, so with several devices they must be small.
        ahead = self._mesh.size == 1
        project = partial(programs.project, ahead=ahead)
        for rows in (2, 1):
            ids = np.zeros((rows, self._config.time_ids), np.float32)
            arguments = (self._params.unet, (self.prompt_shapes(chunks),) * rows, ids)
            name = f"project x{rows}{_of_chunks(chunks)}"
            self._project[rows, chunks] = self._compile(name, project, *arguments)
            self._conditions[rows, chunks] = jax.eval_shape(project, *arguments)

    def _begin_function(self, size: Size) -> Callable[..., State]:
        shape = programs.latent_shape(self._config, size)
        return partial(programs.begin, shape=shape, keep_older=self._keep_older)

    def _add_steps(self, size: Size, lane_counts: LaneCounts, chunks: int) -> None:
        state: State = jax.eval_shape(self._begin_function(size), *_BEGIN_ARGUMENTS)
        keys = [DenoiseKey(size, lanes, True, chunks=chunks) for lanes in lane_counts.guided]
        keys += [DenoiseKey(size, lanes, False, chunks=chunks) for lanes in lane_counts.unguided]
        for key in keys:
            self._add_denoise(key, state)

    def _add_denoise(self, key: DenoiseKey, state: State) -> None:
        conditions = self._conditions[2 if key.guided else 1, key.chunks]
        lane = LaneInput(state, conditions, inpainting=self._inpainting.get(key.size))
        denoise = partial(programs.denoise, mesh=self._mesh)
        if not self._caching:
            self._compile_denoise(key, denoise, lane)
            return
        keeping = partial(denoise, keep=True)
        arguments = self._compile_denoise(key, keeping, lane)
        stepped: Stepped = jax.eval_shape(keeping, *arguments)
        kept: Any = stepped.lanes[0]
        self._deep[key.size, key.guided] = kept.deep
        cached = key._replace(cached=True)
        lane = lane._replace(deep=kept.deep)
        self._compile_denoise(cached, denoise, lane)
        self._lane_bytes = max(self._lane_bytes, nbytes((lane, kept.deep, kept.deep)))
        if (key.size, key.guided) not in self._forecast:
            name = f"forecast {key.size} {'guided' if key.guided else 'unguided'}"
            arguments = (kept.deep, kept.deep, np.float32(0))
            made = self._compile(name, programs.forecast, *arguments)
            self._forecast[key.size, key.guided] = made

    def _compile_denoise(
        self, key: DenoiseKey, denoise: Callable[..., Any], lane: LaneInput
    ) -> tuple[Any, ...]:
        """Returns the arguments, which give the shapes."""
        self._lane_bytes = max(self._lane_bytes, nbytes(lane))
        numbers = _numbers(key.lanes, keep_older=self._keep_older)
        arguments = (self._params.unet, (lane,) * key.lanes, numbers)
        self._denoise[key] = self._compile(f"denoise {key}", denoise, *arguments)
        return arguments

    def _add_preview(self, size: Size, state: State) -> None:
        shrink = programs.preview_shrink(self._config, size)
        if shrink == 1:
            self._preview[size] = self._decode[size]
            return
        preview = partial(programs.preview, shrink=shrink)
        name = f"preview {size} 1/{shrink}"
        self._preview[size] = self._compile(name, preview, self._params.vae, state.image)

    def _compile(self, name: str, function: Callable[..., Any], *arguments: Any) -> Program:
        program = self._compiler.compile(name, function, arguments, replicated(self._mesh))
        self._all.append(program)
        return program


def _of_chunks(chunks: int) -> str:
    """What the name of a program says about its prompts; nothing for one chunk."""
    return "" if chunks == 1 else f" {chunks} chunks"


def _no_vectors(
    params: SdxlParams, tokens: tuple[int, int]
) -> tuple[TextWithVectors, TextWithVectors]:
    """What the encoding of prompts takes for texts without embeddings."""

    def text(encoder: TextEncoder | None, count: int) -> Any:
        hidden, dtype = 0, np.dtype(np.float32)
        if encoder is not None:
            hidden, dtype = encoder.config.hidden, np.dtype(encoder.token_embedding.weight.dtype)
        vectors = np.zeros((count, hidden), dtype)
        return TextWithVectors(_ids(count), vectors, np.zeros(count, np.bool_))  # type: ignore[arg-type]

    return text(params.text.first, tokens[0]), text(params.text.second, tokens[1])


def _ids(tokens: int) -> Any:
    return np.zeros(tokens, np.int32)


def _numbers(lanes: int, *, keep_older: bool) -> StepNumbers:
    floats, integers = np.zeros(lanes, np.float32), np.zeros(lanes, np.uint32)
    coefficients = Coefficients(*[floats] * len(Coefficients._fields))
    if not keep_older:
        coefficients = coefficients._replace(next_older=None)
    return StepNumbers(floats, floats, floats, integers, integers, coefficients)

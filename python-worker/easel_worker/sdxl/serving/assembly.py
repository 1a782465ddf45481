"""The slow part of a start: load the weights and compile the programs, at the same time.

Compiling needs only the shapes of the weights, so other threads read the weights meanwhile.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from jax.sharding import Sharding

from easel_worker.engine import READING
from easel_worker.sdxl.folder.identity import model_digest
from easel_worker.sdxl.folder.model import SdxlParams, abstract_params, load_params
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.adapters import Adapters
from easel_worker.sdxl.serving.artifacts import ArtifactError, UseArtifacts
from easel_worker.sdxl.serving.chunk_vectors import ChunkVectors
from easel_worker.sdxl.serving.compilation import CompileHere, Compiler, Program
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.other_unet import OtherUNet, with_other
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.runner import Runner
from easel_worker.sdxl.serving.sharding import replicate
from easel_worker.sdxl.serving.shelves import Shelves
from easel_worker.timeline import Timeline

Report = Callable[[str], None]


class Assembled(NamedTuple):
    """A started model, whose programs serve its default size with prompts of one chunk.

    `compiler` makes further programs.
    """

    runner: Runner
    digest: str
    programs: ProgramSet
    compiler: Compiler


def assemble(
    about: Description,
    options: Options,
    timeline: Timeline,
    report: Report,
    shelves: Shelves,
    *,
    compiler: Compiler | None = None,
    other: OtherUNet | None = None,
) -> Assembled:
    """Load the model and compile the programs of its default size.

    Args:
        about: the model's description.
        options: the operator's options.
        timeline: records how long each part took.
        report: called with one readable line for each stage of the work.
        shelves: the LoRAs and embeddings.
        compiler: makes the programs; None for the one that the options ask for.
        other: see `SdxlEngine`.

    Raises:
        WeightsError: see `weights.load`.
    """
    config, mesh, dtypes = about.config, resolve.mesh(options), resolve.dtypes(options)
    kernel_options = resolve.kernel_options(options)
    encoder = resolve.needs_encoder(options, config)

    def read() -> SdxlParams:
        with timeline.span("weights"):
            put = replicate(mesh)
            return load_params(
                about.files,
                config,
                dtypes,
                put,
                report,
                kernel_options=kernel_options,
                largest=about.largest,
                keep_source=options.loras is not None,
                encoder=encoder,
            )

    def digest() -> str:
        with timeline.span("digest"):
            calibration = resolve.calibration_file(options, about.files.folder)
            refiner = None if about.refiner is None else about.refiner.files
            return model_digest(about.files, calibration, refiner)

    pool = ThreadPoolExecutor(2, thread_name_prefix=READING)
    params, digested = pool.submit(read), pool.submit(digest)
    pool.shutdown(wait=False)
    text = about.empty_text
    shapes = abstract_params(config, dtypes, kernel_options=kernel_options, encoder=encoder)
    timed = _TimedCompiler(compiler or _compiler(options, report), timeline, (params, digested))
    programs = ProgramSet(
        config,
        with_other(shapes, other),
        mesh,
        (len(text.ids), len(text.ids_2)),
        compiler=timed,
        caching=options.caching,
        embeddings=options.embeddings is not None,
        keep_older=about.keep_older,
        vae_tile=resolve.vae_tile(options, config.vae_scale),
    )

    programs.add_size(about.sizes[0], resolve.lane_counts(options))
    loaded = with_other(params.result(), other)
    adapters = Adapters(
        config,
        loaded,
        replicate(mesh),
        programs.merges,
        shelf=shelves.lora_shelf,
        sets=options.lora_sets,
        report=report,
    )
    runner = Runner(
        config,
        loaded,
        programs,
        mesh,
        empty_text=text,
        lane_counts=resolve.lane_counts(options),
        adapters=adapters,
        vectors=ChunkVectors(shelves.embedding_shelf, programs.no_vectors),
    )
    return Assembled(runner, digested.result(), programs, timed)


class _TimedCompiler:
    """Records each program in the time line; raises as soon as one of `beside` has failed."""

    def __init__(
        self, compiler: Compiler, timeline: Timeline, beside: tuple[Future[Any], ...]
    ) -> None:
        self._compiler = compiler
        self._timeline = timeline
        self._beside = beside

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        for future in self._beside:
            if future.done():
                future.result()
        start = self._timeline.now()
        program = self._compiler.compile(name, function, arguments, where)
        self._timeline.add(name, start, "cached" if program.info.cached else "compiled")
        return program


def _compiler(options: Options, report: Report) -> Compiler:
    """Loads programs that were compiled ahead of time if the operator named a folder that fits."""
    if options.artifacts is None:
        return CompileHere(report)
    try:
        return UseArtifacts(options.artifacts, resolve.devices(options), report)
    except ArtifactError as error:
        report(f"compiling all programs: {error}")
        return CompileHere(report)

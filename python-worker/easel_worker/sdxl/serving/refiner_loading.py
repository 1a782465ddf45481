"""Loads the operator's refiner and compiles its programs, after all that the model needs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding
from jax.typing import DTypeLike
from numpy.typing import NDArray

from easel_worker.engine import Capabilities
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.model import (
    Dtypes,
    SdxlParams,
    TextParams,
    abstract_params,
)
from easel_worker.sdxl.folder.weights import Put
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.params import Param, Tree, count, declared
from easel_worker.sdxl.model.text_encoder import TextEncoder
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.compilation import Compiler, Program
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.lanes import LaneCounts
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.refiner import Refiner
from easel_worker.sdxl.serving.refiner_files import RefinerFiles
from easel_worker.sdxl.serving.runner import Runner
from easel_worker.sdxl.serving.sharding import replicate, replicated
from easel_worker.sdxl.serving.trial import try_refined
from easel_worker.values import Size

Report = Callable[[str], None]


class RefinerLoader:
    """Adds the operator's refiner to a runner."""

    def __init__(
        self, about: Description, options: Options, compiler: Compiler, report: Report
    ) -> None:
        """Args:

        about: the model's description, which has a refiner.
        options: the operator's.
        compiler: makes the programs.
        report: called with a line for each part that is read.
        """
        self._about = about
        self._options = options
        self._compiler = compiler
        self._report = report

    def add(self, runner: Runner, now: Capabilities) -> None:
        """Compile the programs, read the weights, and make an image of each size with both models.

        Args:
            runner: of the model.
            now: what the model can do, which the refiner must be able to continue.

        Raises:
            WeightsError: see `weights.load`.
            BrokenModelError: its numbers are not finite.
        """
        about, options, found = self._about, self._options, self._about.refiner
        if found is None:
            raise ValueError("there is no refiner")
        text, everywhere = about.empty_text, replicated(resolve.mesh(options))
        programs = refiner_programs(
            found.config,
            options,
            (len(text.ids), len(text.ids_2)),
            self._compiler,
            keep_older=about.keep_older,
        )
        add_sizes(programs, now.sizes, now.limits.max_chunks, resolve.lane_counts(options))
        params = _load(found, options, runner.params, self._report)
        runner.refiner = Refiner(found.config, params, programs, everywhere, empty_text=text)
        for size in now.sizes:
            try_refined(runner, about, options, size)


def refiner_params(config: SdxlConfig, options: Options) -> SdxlParams:
    """Shapes of a refiner's weights, never of int8: the calibration is of the model's UNet."""
    dtypes = resolve.dtypes(options)
    plain = Dtypes(dtypes.model, dtypes.vae)
    return abstract_params(config, plain, kernel_options=resolve.kernel_options(options))


def refiner_programs(
    config: SdxlConfig,
    options: Options,
    tokens: tuple[int, int],
    compiler: Compiler,
    *,
    keep_older: bool,
) -> ProgramSet:
    """A refiner's programs for prompts of any size; see `ProgramSet` for the arguments."""
    programs = ProgramSet(
        config,
        refiner_params(config, options),
        resolve.mesh(options),
        tokens,
        compiler=_Named(compiler),
        keep_older=keep_older,
    )
    programs.add_masks()
    return programs


def add_sizes(
    programs: ProgramSet, sizes: tuple[Size, ...], max_chunks: int, lane_counts: LaneCounts
) -> None:
    """Compile a refiner's steps: it begins and decodes no image."""
    for chunks in range(1, max_chunks + 1):
        for size in sizes:
            programs.add_chunks(size, chunks, lane_counts)


class _Named:
    """A compiler whose programs have names of their own beside the model's."""

    def __init__(self, inner: Compiler) -> None:
        self._inner = inner

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        return self._inner.compile(f"refiner {name}", function, arguments, where)


def _load(found: RefinerFiles, options: Options, model: SdxlParams, report: Report) -> SdxlParams:
    """The refiner's weights: those of its own, and the model's VAE.

    A tensor of its text encoder that equals the model's is the model's, and takes no memory. So
    SDXL's refiner has the whole encoder of SDXL base, and that of a fine-tuned model is another.
    """
    dtype, put = resolve.dtypes(options).model, replicate(resolve.mesh(options))
    config, components = found.config, found.files.components

    def load(component: str, tree: Tree, put: Put) -> Tree:
        report(f"loading the refiner's {component}: {count(tree) / 1e6:.1f} M parameters")
        return weights.load(components[component].weights, tree, dtype, put)

    text = TextEncoder.declare(config.text_encoder_2)
    names = [param.name for param in declared(TextEncoder.declare(model.text.second.config))]
    shared = _Shared(dict(zip(names, jax.tree.leaves(model.text.second), strict=True)), put, dtype)
    second = load("text_encoder_2", text, shared)
    report(
        f"the refiner shares {shared.bytes / 1e6:.1f} MB of its text encoder with the model, "
        "because they are equal"
    )
    unet = load("unet", UNet.declare(config.unet), put)
    return SdxlParams(
        text=TextParams(None, second),
        unet=bind(unet, resolve.kernel_options(options)),
        vae=model.vae,
    )


class _Shared:
    """Places arrays, except those that equal an array of the same name that is there already."""

    def __init__(self, known: dict[str, jax.Array], put: Put, dtype: DTypeLike) -> None:
        self._known = known
        self._put = put
        self._dtype = np.dtype(dtype)
        self.bytes = 0

    def __call__(self, array: NDArray[Any], param: Param) -> jax.Array:
        own = self._known.get(param.name)
        if own is not None and (own.shape, own.dtype) == (array.shape, self._dtype):
            there = np.asarray(own)
            if there.tobytes() == np.asarray(array, self._dtype).tobytes():
                self.bytes += own.nbytes
                return own
        return self._put(array, param)

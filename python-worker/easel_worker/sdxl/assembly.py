"""From a model folder to a runner: load, compile. The slow part of starting."""

from collections.abc import Callable
from pathlib import Path

from easel_worker.sdxl.artifacts import ArtifactError, UseArtifacts
from easel_worker.sdxl.compilation import CompileHere, Compiler
from easel_worker.sdxl.describe import Description
from easel_worker.sdxl.model import load_params
from easel_worker.sdxl.options import Options
from easel_worker.sdxl.program_set import ProgramSet
from easel_worker.sdxl.programs import Size
from easel_worker.sdxl.runner import Runner
from easel_worker.sdxl.sharding import replicate


def assemble(
    folder: Path, about: Description, options: Options, report: Callable[[str], None]
) -> Runner:
    """Do all that must be done once, the default size first.

    Args:
        folder: the model.
        about: what `describe` told of it.
        options: the operator's.
        report: called with one readable line for each stage of the work.

    Raises:
        WeightsError: see `weights.load`.
    """
    config, mesh = about.config, options.mesh()
    params = load_params(folder, config, options.chosen_dtypes(), replicate(mesh), report)
    text = about.empty_text
    tokens = (len(text.ids), len(text.ids_2))
    compiler = _compiler(options, report)
    methods = options.chosen_methods()
    programs = ProgramSet(config, params, mesh, tokens, methods=methods, compiler=compiler)
    for size in about.capabilities.sizes:
        programs.add_size(Size(*size), options.lane_counts())
    return Runner(
        config,
        params,
        programs,
        mesh,
        empty_text=text,
        lane_counts=options.lane_counts(),
    )


def _compiler(options: Options, report: Callable[[str], None]) -> Compiler:
    """One that takes what was compiled ahead, if it was compiled for us."""
    if options.artifacts is None:
        return CompileHere(report)
    try:
        return UseArtifacts(options.artifacts, options.chosen_devices(), report)
    except ArtifactError as error:
        report(f"compiling anew: {error}")
        return CompileHere(report)

"""Which programs to compile: the same as a worker with the same options."""

from dataclasses import dataclass
from pathlib import Path

from easel_worker.compile.counting_compiler import CountingCompiler
from easel_worker.maxdiffusion.options import Options as MaxDiffusionOptions
from easel_worker.maxdiffusion.start import unet_for
from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.control_files import find_controls
from easel_worker.sdxl.folder.files import ModelFiles, locate
from easel_worker.sdxl.folder.ip_adapter import IpAdapterFiles, find_ip_adapters
from easel_worker.sdxl.folder.model import SdxlParams, abstract_params
from easel_worker.sdxl.folder.model_defaults import model_defaults
from easel_worker.sdxl.folder.tokenizer_files import read_tokenizer
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.control_programs import NetConfig
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.other_unet import with_other
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.refiner_loading import (
    add_sizes,
    refiner_params,
    refiner_programs,
)
from easel_worker.values import Size


@dataclass(frozen=True)
class Plan:
    """A model without its weights, and the operator's options.

    Attributes:
        config: the model's config.
        params: shapes of its weights.
        tokens: number of ids of a text, for each encoder.
        sizes: image sizes to compile for.
        keep_older: as in `ProgramSet`.
        nets: the configurations of the operator's ControlNets and T2I-Adapters, each once.
        ip_adapters: the operator's IP-Adapters.
        refiner: the configuration of the operator's refiner, if any.
        options: the operator's.
    """

    config: SdxlConfig
    params: SdxlParams
    tokens: tuple[int, int]
    sizes: tuple[Size, ...]
    keep_older: bool
    nets: tuple[NetConfig, ...]
    ip_adapters: tuple[IpAdapterFiles, ...]
    refiner: SdxlConfig | None
    options: Options

    @property
    def refiner_params(self) -> SdxlParams | None:
        """Shapes of the refiner's weights."""
        return None if self.refiner is None else refiner_params(self.refiner, self.options)


def read(model: Path, options: Options, *, only: bool) -> Plan:
    """Read a model's small files.

    Args:
        model: a diffusers folder or a single file; its weights are not read, and a folder may lack
            the tokenizers.
        options: the worker's options.
        only: compile only for the sizes of the options, not for the model's default size.

    Raises:
        ConfigError: see `read_config`.
        ValueError: see `unet_for`.
    """
    files = locate(model, vae=options.vae, unet=options.unet)
    config = read_config(files)
    own = model_defaults(files, config, more_schedulers=options.more_schedulers)
    sizes = resolve.sizes(options, own.sizes)
    if only and options.sizes is not None:
        sizes = tuple(Size(*size) for size in options.sizes)
    params = abstract_params(
        config,
        resolve.dtypes(options),
        kernel_options=resolve.kernel_options(options),
        encoder=resolve.needs_encoder(options, config),
    )
    other = unet_for(config, sizes, options) if isinstance(options, MaxDiffusionOptions) else None
    return Plan(
        config=config,
        params=with_other(params, other),
        tokens=_tokens(files, config),
        sizes=sizes,
        keep_older=own.keep_older,
        nets=_nets(options, config, sizes),
        ip_adapters=_ip_adapters(options, config),
        refiner=_refiner(options, model),
        options=options,
    )


def compile_all(plan: Plan, compiler: CountingCompiler) -> None:
    """Compile every program, in the worker's order."""
    options = plan.options
    programs = ProgramSet(
        plan.config,
        plan.params,
        resolve.mesh(options),
        plan.tokens,
        compiler=compiler,
        caching=options.caching,
        embeddings=options.embeddings is not None,
        keep_older=plan.keep_older,
        vae_tile=resolve.vae_tile(options, plan.config.vae_scale),
    )
    lane_counts = resolve.lane_counts(options)
    first, *others = plan.sizes
    programs.add_size(first, lane_counts)
    programs.add_masks()
    for size in others:
        programs.add_size(size, lane_counts)
    for chunks in range(2, options.max_prompt_chunks + 1):
        for size in plan.sizes:
            programs.add_chunks(size, chunks, lane_counts)
    if options.image_inputs:
        for size in plan.sizes:
            programs.pictures.add_size(size)
    control = pictures = None
    if plan.nets:
        kernel_options = resolve.kernel_options(options)
        control = programs.control_programs(plan.nets, kernel_options=kernel_options)
    if plan.ip_adapters:
        pictures = programs.image_prompt_programs(plan.ip_adapters)
    if plan.nets or plan.ip_adapters:
        for size in plan.sizes:
            chunks = options.max_prompt_chunks
            programs.add_conditioned(control, pictures, size, chunks, lane_counts)
    if plan.refiner is not None:
        refiner = refiner_programs(
            plan.refiner, options, plan.tokens, compiler, keep_older=plan.keep_older
        )
        add_sizes(refiner, plan.sizes, options.max_prompt_chunks, lane_counts)


def _refiner(options: Options, model: Path) -> SdxlConfig | None:
    """The worker says whether it fits the model."""
    if options.refiner is None:
        return None
    return read_config(locate(options.refiner, vae=options.vae or model))


def _nets(options: Options, config: SdxlConfig, sizes: tuple[Size, ...]) -> tuple[NetConfig, ...]:
    if options.controlnets is None:
        return ()
    folder, scale = options.controlnets, config.vae_scale
    # The worker says which nets it leaves out.
    found = find_controls(folder, config.unet, scale, sizes, lambda _: None)
    return tuple(dict.fromkeys(files.config for files in found))


def _ip_adapters(options: Options, config: SdxlConfig) -> tuple[IpAdapterFiles, ...]:
    if options.ip_adapters is None:
        return ()
    return find_ip_adapters(options.ip_adapters, config.unet, lambda _: None)


def _tokens(files: ModelFiles, config: SdxlConfig) -> tuple[int, int]:
    """Ids per text: from the tokenizers, or without them the encoders' number of positions."""
    if all(folder.is_dir() for folder in files.tokenizers):
        first, second = (read_tokenizer(folder).info.max_length for folder in files.tokenizers)
        return first, second
    encoder = config.text_encoder or config.text_encoder_2
    return encoder.positions, config.text_encoder_2.positions

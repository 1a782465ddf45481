"""Reads what an SDXL folder can do when it is served. Reads only its small files, no weights."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from msgspec import UNSET

from easel_worker.engine import (
    AESTHETIC_SCORE,
    CACHE_ORDER,
    EMBEDDINGS,
    GUIDANCE_EMBEDDING,
    GUIDANCE_INTERVAL,
    GUIDANCE_RESCALE,
    MICRO_CONDITIONING,
    PICTURES_ONLY,
    SCHEDULES,
    Capabilities,
    DeviceInfo,
    ModelInfo,
    Preset,
    Tokens,
)
from easel_worker.sdxl.folder.config import ConfigError, read_config
from easel_worker.sdxl.folder.control_files import ControlFiles, find_controls
from easel_worker.sdxl.folder.family import family
from easel_worker.sdxl.folder.files import ModelFiles, locate
from easel_worker.sdxl.folder.ip_adapter import IpAdapterFiles, find_ip_adapters
from easel_worker.sdxl.folder.model import Dtypes
from easel_worker.sdxl.folder.model_defaults import model_defaults
from easel_worker.sdxl.folder.tokenizer_files import TokenizerFiles, read_tokenizer
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import calibration
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.refiner_files import RefinerFiles, find_refiner
from easel_worker.values import Size


@dataclass(frozen=True)
class Description:
    """What a model folder and the operator's options say, after all checks.

    Attributes:
        files: where the model's files are.
        config: the configuration of the model's parts.
        tokenizers: the first and the second.
        sizes: the sizes to compile for, the default first.
        capabilities: complete but for the weights' digest and the programs, which are known later.
        largest: the calibration if the model is to be quantised, else None.
        preset: the preset that the model itself has, if any.
        keep_older: whether the programs need room for samplers that use two earlier predictions.
        warnings: what the operator should know of the model, each in one line.
        controls: the ControlNets and T2I-Adapters that fit the model.
        ip_adapters: the IP-Adapters that fit it.
        refiner: the operator's refiner, if any.
        notes: what was decided by the model's name or for its preset, each in one line.
    """

    files: ModelFiles
    config: SdxlConfig
    tokenizers: tuple[TokenizerFiles, TokenizerFiles]
    sizes: tuple[Size, ...]
    capabilities: Capabilities
    largest: tuple[calibration.Largest, ...] | None
    preset: Preset | None = None
    keep_older: bool = False
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    controls: tuple[ControlFiles, ...] = ()
    ip_adapters: tuple[IpAdapterFiles, ...] = ()
    refiner: RefinerFiles | None = None

    @property
    def empty_text(self) -> Tokens:
        """The ids of the empty text."""
        first, second = self.tokenizers
        return Tokens(first.empty, second.empty)


def describe(model: Path, options: Options) -> Description:
    """Read and check everything of a model except its weights.

    Raises:
        ValueError: something is missing or not supported; the message says what to do.
    """
    located = locate(model, vae=options.vae, unet=options.unet)
    config = read_config(located)
    first, second = located.tokenizers
    tokenizers = read_tokenizer(first), read_tokenizer(second)
    _check_tokenizers(model, config, tokenizers)
    if config.pictures_only and not options.image_inputs:
        raise ConfigError(
            f"{model}: it changes pictures and makes none from text alone, such as SDXL's refiner: "
            "leave IMAGE_INPUTS true"
        )
    resolve.vae_tile(options, config.vae_scale)
    file = resolve.calibration_file(options, located.folder)
    largest = None if file is None else tuple(calibration.read(file, UNet.declare(config.unet)))
    own = model_defaults(located, config, more_schedulers=options.more_schedulers)
    config = replace(config, scheduler={**config.scheduler, **own.scheduler})
    sizes = resolve.sizes(options, own.sizes)
    for size in sizes:
        if min(size) < 1 or any(side % config.vae_scale for side in size):
            raise ConfigError(
                f"size {size}: width and height must be multiples of {config.vae_scale}"
            )
    if options.caching and len(config.unet.channels) == 1:
        raise ConfigError(
            f"{model}: its UNet has one level, so there are no deep features to reuse: leave "
            "max_cache_interval at 1"
        )
    refiner = None
    if options.refiner is not None:
        refiner = find_refiner(options.refiner, config, tokenizers[1], vae=options.vae or model)
    left_out: list[str] = []
    controls: tuple[ControlFiles, ...] = ()
    adapters: tuple[IpAdapterFiles, ...] = ()
    if options.ip_adapters is not None:
        adapters = find_ip_adapters(options.ip_adapters, config.unet, left_out.append)
        if not adapters:
            left_out.append(f"{options.ip_adapters} has no IP-Adapter that can be used")
    if options.controlnets is not None:
        folder = options.controlnets
        controls = find_controls(folder, config.unet, config.vae_scale, sizes, left_out.append)
        if not controls:
            left_out.append(f"{folder} has no ControlNet or T2I-Adapter that can be used")
    trained = int(config.scheduler.get("num_train_timesteps", 1000))
    capabilities = Capabilities(
        model=ModelInfo(
            located.name,
            "",
            _dtype_name(resolve.dtypes(options)),
            family(config.unet),
            UNSET if refiner is None else refiner.files.name,
        ),
        tokenizers=tuple(files.info for files in tokenizers),
        sizes=sizes,
        rows=resolve.rows(options),
        schedulers=own.schedulers,
        second_order=sampler.second_order(own.schedulers),
        unspaced=sampler.unspaced(own.schedulers),
        defaults=own.defaults,
        limits=replace(
            options.limits,
            max_steps=min(options.limits.max_steps, trained),
            max_cache_interval=options.max_cache_interval,
            max_clip_skip=_most_skipped(config, *([] if refiner is None else [refiner.config])),
            max_loras=0 if options.loras is None else options.limits.max_loras,
            max_controls=options.limits.max_controls if controls else 0,
        ),
        devices=tuple(DeviceInfo(d.id, d.device_kind) for d in resolve.devices(options)),
        programs=(),
        features=(
            *_features(config),
            *((CACHE_ORDER,) if options.caching else ()),
            *(() if options.embeddings is None else (EMBEDDINGS,)),
        ),
        presets=own.presets,
    )
    return Description(
        located,
        config,
        tokenizers,
        sizes,
        capabilities,
        largest,
        preset=own.preset,
        keep_older=own.keep_older,
        warnings=(*own.warnings, *left_out),
        notes=own.notes,
        controls=controls,
        ip_adapters=adapters,
        refiner=refiner,
    )


def _most_skipped(*configs: SdxlConfig) -> int:
    """The largest clip_skip: it skips every layer and leaves the embeddings."""
    return min(encoder.layers for config in configs for encoder in config.text_encoders) - 1


def _features(config: SdxlConfig) -> tuple[str, ...]:
    guided = GUIDANCE_INTERVAL, GUIDANCE_RESCALE
    return (
        *(guided if config.unet.guidance_features is None else (GUIDANCE_EMBEDDING,)),
        MICRO_CONDITIONING,
        SCHEDULES,
        *((AESTHETIC_SCORE,) if config.aesthetic_scores else ()),
        *((PICTURES_ONLY,) if config.pictures_only else ()),
    )


def _dtype_name(dtypes: Dtypes) -> str:
    name = np.dtype(dtypes.model).name
    return f"{name}+int8" if dtypes.int8 else name


def _check_tokenizers(
    model: Path, config: SdxlConfig, tokenizers: tuple[TokenizerFiles, TokenizerFiles]
) -> None:
    encoders = config.text_encoder or config.text_encoder_2, config.text_encoder_2
    for files, encoder in zip(tokenizers, encoders, strict=True):
        if files.size > encoder.vocabulary or files.info.max_length > encoder.positions:
            raise ConfigError(
                f"{model}: a tokenizer with {files.size} ids and texts of "
                f"{files.info.max_length} tokens is too large for its text encoder, which has "
                f"{encoder.vocabulary} ids and {encoder.positions} positions"
            )

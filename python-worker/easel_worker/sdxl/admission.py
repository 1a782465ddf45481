"""Whether a spec fits what the engine can do."""

import math

from easel_worker.engine import Capabilities, ImageSpec, InvalidRequest, Tokens
from easel_worker.sdxl.tokenizer_files import TokenizerFiles


def check_spec(
    spec: ImageSpec,
    capabilities: Capabilities,
    tokenizers: tuple[TokenizerFiles, TokenizerFiles],
    most_skipped: int,
) -> None:
    """Refuse a spec that cannot be made.

    Args:
        spec: asked for.
        capabilities: of the engine.
        tokenizers: of the model.
        most_skipped: the largest clip_skip.

    Raises:
        InvalidRequest: it says what would be right.
    """
    limits = capabilities.limits
    if (spec.width, spec.height) not in capabilities.sizes:
        sizes = ", ".join(f"{width}x{height}" for width, height in capabilities.sizes)
        raise InvalidRequest(f"size {spec.width}x{spec.height} is not served: use {sizes}")
    if spec.scheduler not in capabilities.schedulers:
        names = ", ".join(capabilities.schedulers)
        raise InvalidRequest(f"scheduler {spec.scheduler!r} is not served: use {names}")
    if not 1 <= spec.steps <= limits.max_steps:
        raise InvalidRequest(f"steps must be 1 to {limits.max_steps}, not {spec.steps}")
    if not (math.isfinite(spec.guidance) and 0 <= spec.guidance <= limits.max_guidance_scale):
        raise InvalidRequest(
            f"guidance must be 0 to {limits.max_guidance_scale}, not {spec.guidance}"
        )
    if not 0 <= spec.guidance_start <= spec.guidance_end <= 1:
        interval = f"{spec.guidance_start} to {spec.guidance_end}"
        raise InvalidRequest(
            f"guidance_start to guidance_end must be within 0 to 1, not {interval}"
        )
    if not 1 <= spec.cache_interval <= limits.max_cache_interval:
        most = limits.max_cache_interval
        raise InvalidRequest(f"cache_interval must be 1 to {most}, not {spec.cache_interval}")
    if not 0 <= spec.seed < 2**32:
        raise InvalidRequest(f"seed must be 0 to {2**32 - 1}, not {spec.seed}")
    if not 0 <= spec.clip_skip <= most_skipped:
        raise InvalidRequest(f"clip_skip must be 0 to {most_skipped}, not {spec.clip_skip}")
    for name, text in (("prompt", spec.prompt), ("negative", spec.negative)):
        if text is not None:
            _check_text(name, text, tokenizers)


def _check_text(name: str, text: Tokens, tokenizers: tuple[TokenizerFiles, TokenizerFiles]) -> None:
    for ids, files in zip((text.ids, text.ids_2), tokenizers, strict=True):
        length = files.info.max_length
        if len(ids) != length:
            raise InvalidRequest(f"{name} must have {length} token ids, not {len(ids)}")
        if not all(0 <= token < files.size for token in ids):
            raise InvalidRequest(f"{name} has a token id outside 0 to {files.size - 1}")

"""Whether a job fits what the engine can do."""

import math

from easel_worker.engine import Capabilities, InvalidJob, Job, Tokens
from easel_worker.sdxl.folder.tokenizer_files import TokenizerFiles


def check_job(
    job: Job,
    capabilities: Capabilities,
    tokenizers: tuple[TokenizerFiles, TokenizerFiles],
    most_skipped: int,
) -> None:
    """Refuse a job that cannot be made.

    Args:
        job: asked for.
        capabilities: of the engine.
        tokenizers: of the model.
        most_skipped: the largest clip_skip.

    Raises:
        InvalidJob: it says what would be right.
    """
    limits = capabilities.limits
    if (job.width, job.height) not in capabilities.sizes:
        sizes = ", ".join(f"{width}x{height}" for width, height in capabilities.sizes)
        raise InvalidJob(f"size {job.width}x{job.height} is not served: use {sizes}")
    if job.scheduler not in capabilities.schedulers:
        names = ", ".join(capabilities.schedulers)
        raise InvalidJob(f"scheduler {job.scheduler!r} is not served: use {names}")
    if not 1 <= job.steps <= limits.max_steps:
        raise InvalidJob(f"steps must be 1 to {limits.max_steps}, not {job.steps}")
    if not (math.isfinite(job.guidance) and 0 <= job.guidance <= limits.max_guidance_scale):
        raise InvalidJob(f"guidance must be 0 to {limits.max_guidance_scale}, not {job.guidance}")
    if not 0 <= job.guidance_start <= job.guidance_end <= 1:
        interval = f"{job.guidance_start} to {job.guidance_end}"
        raise InvalidJob(f"guidance_start to guidance_end must be within 0 to 1, not {interval}")
    if not 1 <= job.cache_interval <= limits.max_cache_interval:
        most = limits.max_cache_interval
        raise InvalidJob(f"cache_interval must be 1 to {most}, not {job.cache_interval}")
    if not 0 <= job.seed < 2**32:
        raise InvalidJob(f"seed must be 0 to {2**32 - 1}, not {job.seed}")
    if not 0 <= job.clip_skip <= most_skipped:
        raise InvalidJob(f"clip_skip must be 0 to {most_skipped}, not {job.clip_skip}")
    for name, text in (("prompt", job.prompt), ("negative", job.negative)):
        if text is not None:
            _check_text(name, text, tokenizers)


def _check_text(name: str, text: Tokens, tokenizers: tuple[TokenizerFiles, TokenizerFiles]) -> None:
    for ids, files in zip((text.ids, text.ids_2), tokenizers, strict=True):
        length = files.info.max_length
        if len(ids) != length:
            raise InvalidJob(f"{name} must have {length} token ids, not {len(ids)}")
        if not all(0 <= token < files.size for token in ids):
            raise InvalidJob(f"{name} has a token id outside 0 to {files.size - 1}")

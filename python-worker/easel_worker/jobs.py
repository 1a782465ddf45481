"""From a GENERATE message to the engine's jobs, and from an engine's capabilities to HELLO."""

import os
from dataclasses import asdict, replace
from typing import Any

from easel_worker import __version__, protocol
from easel_worker.engine import GUIDANCE_INTERVAL, Capabilities, InvalidJob, Job, Tokens


def hello(capabilities: Capabilities, worker: str) -> protocol.Hello:
    """How a worker of this name introduces itself."""
    return protocol.Hello(
        protocol=protocol.VERSION,
        worker=worker,
        version=__version__,
        pid=os.getpid(),
        model=protocol.Model(**asdict(capabilities.model)),
        tokenizers=tuple(protocol.Tokenizer(**asdict(t)) for t in capabilities.tokenizers),
        sizes=capabilities.sizes,
        rows=capabilities.rows,
        schedulers=capabilities.schedulers,
        defaults=protocol.Defaults(**asdict(capabilities.defaults)),
        limits=protocol.Limits(**asdict(capabilities.limits)),
        devices=tuple(protocol.Device(**asdict(device)) for device in capabilities.devices),
        programs=tuple(protocol.Program(**asdict(program)) for program in capabilities.programs),
        coming=capabilities.coming or None,
        features=capabilities.features or None,
    )


def jobs(request: protocol.Generate, capabilities: Capabilities) -> tuple[Job, ...]:
    """One job for each seed of the request.

    Raises:
        InvalidJob: the request does not fit the capabilities; the text says in which field.
    """
    _check(request, capabilities)
    job = Job(
        prompt=_tokens(request.prompt),
        negative=None if request.negative is None else _tokens(request.negative),
        seed=request.seeds[0],
        steps=request.steps,
        guidance=request.guidance,
        scheduler=request.scheduler,
        width=request.width,
        height=request.height,
        clip_skip=request.clip_skip,
        **_given(request, "guidance_start", "guidance_end", "cache_interval"),
    )
    _check_guidance(job, capabilities)
    _at_most("cache_interval", job.cache_interval, capabilities.limits.max_cache_interval)
    return tuple(replace(job, seed=seed) for seed in request.seeds)


def _given(request: protocol.Generate, *names: str) -> dict[str, Any]:
    """Those fields that the request has. The others are as in `Job`."""
    values = {name: getattr(request, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _tokens(ids: protocol.TokenIds) -> Tokens:
    return Tokens(ids=ids.ids, ids_2=ids.ids_2)


def _check(request: protocol.Generate, capabilities: Capabilities) -> None:
    limits = capabilities.limits
    if (request.width, request.height) not in capabilities.sizes:
        if (request.width, request.height) in capabilities.coming:
            raise InvalidJob(f"size {request.width}x{request.height} is still being compiled")
        known = ", ".join(f"{width}x{height}" for width, height in capabilities.sizes)
        raise InvalidJob(f"size {request.width}x{request.height} is not one of {known}")
    if request.scheduler not in capabilities.schedulers:
        known = ", ".join(capabilities.schedulers)
        raise InvalidJob(f"scheduler {request.scheduler!r} is not one of {known}")
    _at_most("steps", request.steps, limits.max_steps)
    _at_most("guidance", request.guidance, limits.max_guidance_scale)
    _at_most("the number of seeds", len(request.seeds), limits.max_images)
    _check_length("prompt", request.prompt, capabilities)
    if request.negative is not None:
        _check_length("negative", request.negative, capabilities)


def _check_guidance(job: Job, capabilities: Capabilities) -> None:
    start, end = job.guidance_start, job.guidance_end
    if start > end:
        raise InvalidJob(f"guidance_start is {start}, after guidance_end, which is {end}")
    if (start, end) != (0, 1) and GUIDANCE_INTERVAL not in capabilities.features:
        raise InvalidJob("this worker guides all steps: leave out guidance_start and guidance_end")
    if job.rows > capabilities.rows:
        raise InvalidJob("a guided image takes two rows, this worker has one: start it with more")


def _at_most(what: str, value: float, limit: float) -> None:
    if value > limit:
        raise InvalidJob(f"{what} is {value}, at most {limit} are allowed")


def _check_length(name: str, tokens: protocol.TokenIds, capabilities: Capabilities) -> None:
    """Each encoder takes exactly as many tokens as its tokenizer's max_length."""
    lists = {"ids": tokens.ids, "ids_2": tokens.ids_2}
    for (field, ids), info in zip(lists.items(), capabilities.tokenizers, strict=False):
        if len(ids) != info.max_length:
            raise InvalidJob(f"{name}.{field} holds {len(ids)} tokens, not {info.max_length}")

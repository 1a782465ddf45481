"""Checks the prompts of a request: their chunks, weights and masks."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from easel_worker.engine import (
    PROMPT_WEIGHTS,
    Capabilities,
    InvalidRequest,
    Parameters,
    TokenizerInfo,
    Tokens,
)


def check_prompts(wanted: Parameters, capabilities: Capabilities) -> None:
    """Check both prompts against the capabilities.

    Raises:
        InvalidRequest: a list does not fit; the text names it.
    """
    chunks = _check_prompt("prompt", wanted.prompt, wanted, capabilities)
    if wanted.negative is not None:
        negative = _check_prompt("negative", wanted.negative, wanted, capabilities)
        if negative != chunks:
            raise InvalidRequest(
                f"negative has {negative} chunks and prompt has {chunks}: pad the shorter one"
            )
    most = capabilities.limits.max_chunks
    if chunks > most:
        raise InvalidRequest(f"prompt has {chunks} chunks, but at most {most} are allowed now")
    if wanted.weighting == "compel" and wanted.empty is UNSET:
        raise InvalidRequest("empty is missing: weighting 'compel' needs it")
    if wanted.empty is not UNSET:
        for (field, ids), info in _with_tokenizers(wanted.empty, capabilities):
            _check_chunk(f"empty.{field}", ids, info)


def _check_prompt(name: str, tokens: Tokens, wanted: Parameters, capabilities: Capabilities) -> int:
    """Check one prompt; returns its number of chunks."""
    counts = []
    for (field, ids), info in _with_tokenizers(tokens, capabilities):
        if len(ids) % info.max_length:
            raise InvalidRequest(
                f"{name}.{field} has {len(ids)} ids, not a multiple of {info.max_length}"
            )
        counts.append(len(ids) // info.max_length)
    if len(set(counts)) > 1:
        raise InvalidRequest(f"{name}.ids has {counts[0]} chunks and ids_2 has {counts[1]}")
    if tokens.weighted:
        _check_weights(name, tokens, wanted, capabilities)
    return counts[0]


def _check_weights(
    name: str, tokens: Tokens, wanted: Parameters, capabilities: Capabilities
) -> None:
    if PROMPT_WEIGHTS not in capabilities.features:
        raise InvalidRequest(f"this worker does not support {PROMPT_WEIGHTS}: send {name} without")
    if wanted.weighting is UNSET:
        raise InvalidRequest(f"weighting is missing: {name} has weights")
    for suffix, ids in (("", tokens.ids), ("_2", tokens.ids_2)):
        weights = getattr(tokens, f"weights{suffix}")
        if weights is not UNSET and len(weights) != len(ids):
            raise InvalidRequest(
                f"{name}.weights{suffix} has {len(weights)} numbers for {len(ids)} ids"
            )
        _check_masks(f"{name}.masked{suffix}", getattr(tokens, f"masked{suffix}"), weights, wanted)
    if tokens.pooled_ids_2 is not UNSET:
        info = capabilities.tokenizers[1]
        _check_chunk(f"{name}.pooled_ids_2", tokens.pooled_ids_2, info)


def _check_masks(
    name: str,
    masks: tuple[tuple[int, int], ...] | UnsetType,
    weights: Sequence[float] | UnsetType,
    wanted: Parameters,
) -> None:
    """Masks are for compel, in order, disjoint and inside the prompt."""
    if masks is UNSET:
        return
    if wanted.weighting != "compel":
        raise InvalidRequest(f"{name} is only for weighting 'compel'")
    if weights is UNSET:
        raise InvalidRequest(f"{name} needs the weights of the same encoder")
    position = 0
    for start, end in masks:
        if not position <= start < end <= len(weights):
            raise InvalidRequest(
                f"{name} has [{start}, {end}): spans must be in order, disjoint and end by "
                f"{len(weights)}"
            )
        position = end


def _check_chunk(name: str, ids: Sequence[int], info: TokenizerInfo) -> None:
    if len(ids) != info.max_length:
        raise InvalidRequest(f"{name} has {len(ids)} ids, not {info.max_length}")


def _with_tokenizers(
    tokens: Tokens, capabilities: Capabilities
) -> "zip[tuple[tuple[str, tuple[int, ...]], TokenizerInfo]]":
    lists = (("ids", tokens.ids), ("ids_2", tokens.ids_2))
    return zip(lists, capabilities.tokenizers, strict=False)

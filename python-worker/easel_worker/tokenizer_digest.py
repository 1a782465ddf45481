"""A CLIP tokenizer's identity, by which the gateway knows that its token ids fit the model."""

import hashlib
import json
from pathlib import Path
from typing import Any

from easel_worker.engine import TokenizerInfo
from easel_worker.text_file import TextFileError, read_object
from easel_worker.tokenizer_bpe import Bpe, read_bpe

END_OF_TEXT = "<|endoftext|>"
CLIP_MAX_LENGTH = 77
UNLIMITED = 1e9
"""Transformers writes 10**30 for a tokenizer without a limit."""

_FIXED = {"padding_side": "right", "truncation_side": "right", "split_special_tokens": False}
"""Keys of tokenizer_config.json of which one value is supported."""


def digest(bpe: Bpe) -> str:
    """SHA-256 (hex) over the vocabulary and the merges, as `protocol/README.md` defines it."""
    tokens, merges = "\n".join(bpe.ids), "\n".join(bpe.merges)
    return hashlib.sha256(f"{tokens}\n\n{merges}".encode()).hexdigest()


def tokenizer_info(folder: Path, bpe: Bpe | None = None) -> TokenizerInfo:
    """Identity of the tokenizer in a diffusers `tokenizer` folder, as transformers reads it.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_base.py#L1874

    Args:
        folder: of the tokenizer.
        bpe: its BPE, if it was read before.

    Raises:
        OSError: a file cannot be read.
        TextFileError: a file is missing or invalid, or the vocabulary lacks the padding token.
    """
    bpe = bpe or read_bpe(folder)
    config_file = folder / "tokenizer_config.json"
    config = _read_optional(config_file)
    for key, supported in _FIXED.items():
        if (value := config.get(key)) not in (None, supported):
            raise TextFileError(
                f"{config_file}: {key} is {json.dumps(value)}; only {json.dumps(supported)} is "
                "supported"
            )
    pad_token = _pad_token(folder, config)
    if pad_token not in bpe.ids:
        raise TextFileError(
            f"{bpe.file} has no token {json.dumps(pad_token)}, which is the padding token"
        )
    return TokenizerInfo(
        digest=digest(bpe),
        pad_id=bpe.ids[pad_token],
        max_length=_max_length(config_file, config.get("model_max_length")),
    )


def _pad_token(folder: Path, config: dict[str, Any]) -> str:
    """special_tokens_map.json takes precedence, unless tokenizer_config.json lists added tokens."""
    named = {"pad_token": END_OF_TEXT} | config
    special_tokens = _read_optional(folder / "special_tokens_map.json")
    if "added_tokens_decoder" not in config:
        named |= special_tokens
    token = named["pad_token"]
    if token is None:
        raise TextFileError(f"{folder}: pad_token is null in tokenizer_config.json: name one")
    if not isinstance(token, dict):
        return str(token)
    if not isinstance(token.get("content"), str):
        raise TextFileError(
            f"{folder}: pad_token has no content in tokenizer_config.json or "
            "special_tokens_map.json"
        )
    return str(token["content"])


def _max_length(config_file: Path, value: object) -> int:
    """The limit, or CLIP's if there is none or it is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value >= UNLIMITED:
        return CLIP_MAX_LENGTH
    if value < 2 or value != int(value):  # start and end
        raise TextFileError(
            f"{config_file}: model_max_length must be a whole number, 2 or more, not {value}"
        )
    return int(value)


def _read_optional(path: Path) -> dict[str, Any]:
    """The file's object, or an empty one if there is no file."""
    try:
        return read_object(path, plain_numbers=True)
    except FileNotFoundError:
        return {}

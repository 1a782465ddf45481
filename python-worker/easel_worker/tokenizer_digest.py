"""Identity of a CLIP tokenizer, by which the gateway knows that its token ids fit the model."""

import hashlib
import json
from pathlib import Path
from typing import Any

from easel_worker.engine import TokenizerInfo

END_OF_TEXT = "<|endoftext|>"
CLIP_MAX_LENGTH = 77
UNLIMITED = 1e9
"""Transformers writes 10**30 for a tokenizer without a limit."""


def digest(vocab_json: Path, merges_txt: Path) -> str:
    """SHA-256 (hex) over the vocabulary and the merges, as `protocol/README.md` defines it."""
    vocab: dict[str, int] = json.loads(vocab_json.read_text(encoding="utf-8"))
    tokens = sorted(vocab, key=vocab.__getitem__)
    # Only "\n" ends a line: merges may hold characters that str.splitlines() would split at.
    lines = merges_txt.read_bytes().decode("utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    return hashlib.sha256(("\n".join(tokens) + "\n\n" + "\n".join(merges)).encode()).hexdigest()


def tokenizer_info(folder: Path) -> TokenizerInfo:
    """Identity of the tokenizer in a diffusers `tokenizer` folder, as transformers reads it.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_base.py#L1874

    Raises:
        OSError: a file is missing.
        ValueError: there is no padding token, or it is not in the vocabulary.
    """
    settings = _read_json(folder / "tokenizer_config.json")
    vocab: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    pad_token = _pad_token(folder, settings)
    if pad_token not in vocab:
        raise ValueError(f"{folder}: the padding token {pad_token!r} is not in vocab.json")
    return TokenizerInfo(
        digest=digest(folder / "vocab.json", folder / "merges.txt"),
        pad_id=vocab[pad_token],
        max_length=_max_length(settings.get("model_max_length")),
    )


def _pad_token(folder: Path, settings: dict[str, Any]) -> str:
    """What special_tokens_map.json says wins, unless tokenizer_config.json lists added tokens."""
    named = {"pad_token": END_OF_TEXT} | settings
    if "added_tokens_decoder" not in settings:
        named |= _read_json(folder / "special_tokens_map.json")
    token = named["pad_token"]
    if token is None:
        raise ValueError(f"{folder}: pad_token is null in tokenizer_config.json: name one")
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _max_length(value: object) -> int:
    """CLIP's for a folder that says nothing, or that there is no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value >= UNLIMITED:
        return CLIP_MAX_LENGTH
    return int(value)


def _read_json(path: Path) -> dict[str, Any]:
    """The file's object, or an empty one: both files are optional in a diffusers folder."""
    if not path.exists():
        return {}
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result

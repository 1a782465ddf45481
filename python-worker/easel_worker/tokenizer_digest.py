"""Identity of a CLIP tokenizer, by which the gateway knows that its token ids fit the model."""

import hashlib
import json
from pathlib import Path
from typing import Any

from easel_worker.engine import TokenizerInfo

END_OF_TEXT = "<|endoftext|>"
CLIP_MAX_LENGTH = 77


def digest(vocab_json: Path, merges_txt: Path) -> str:
    """SHA-256 (hex) over the vocabulary and the merges, as `protocol/README.md` defines it."""
    vocab: dict[str, int] = json.loads(vocab_json.read_text(encoding="utf-8"))
    tokens = sorted(vocab, key=vocab.__getitem__)
    # Only "\n" ends a line: merges may hold characters that str.splitlines() would split at.
    lines = merges_txt.read_bytes().decode("utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    return hashlib.sha256(("\n".join(tokens) + "\n\n" + "\n".join(merges)).encode()).hexdigest()


def tokenizer_info(folder: Path) -> TokenizerInfo:
    """Identity of the tokenizer in a diffusers `tokenizer` folder.

    Raises:
        OSError: a file is missing.
        ValueError: the padding token is not in the vocabulary.
    """
    vocab_json = folder / "vocab.json"
    settings = _read_json(folder / "tokenizer_config.json")
    special = _read_json(folder / "special_tokens_map.json")
    pad_token = _content(settings.get("pad_token") or special.get("pad_token") or END_OF_TEXT)
    vocab: dict[str, int] = json.loads(vocab_json.read_text(encoding="utf-8"))
    if pad_token not in vocab:
        raise ValueError(f"{folder}: the padding token {pad_token!r} is not in vocab.json")
    return TokenizerInfo(
        digest=digest(vocab_json, folder / "merges.txt"),
        pad_id=vocab[pad_token],
        max_length=int(settings.get("model_max_length", CLIP_MAX_LENGTH)),
    )


def _read_json(path: Path) -> dict[str, Any]:
    """The file's object, or an empty one: both files are optional in a diffusers folder."""
    if not path.exists():
        return {}
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def _content(token: str | dict[str, Any]) -> str:
    """A special token is written as its text, or as an object with the text in `content`."""
    return token if isinstance(token, str) else str(token["content"])

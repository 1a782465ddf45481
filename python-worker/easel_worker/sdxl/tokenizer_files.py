"""What the worker knows of the tokenizers: who they are, and how an empty text looks.

The gateway turns text into token ids. The worker only has to make sure that it does so with the
model's own vocabulary, and needs the ids of the empty text itself.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel_worker.engine import TokenizerInfo

START, END = "<|startoftext|>", "<|endoftext|>"


class TokenizerError(ValueError):
    """The tokenizer's files are absent or not as CLIP's."""


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer of a model.

    Attributes:
        info: who it is.
        empty: the ids of the empty text, of the tokenizer's max_length.
        size: how many ids there are.
    """

    info: TokenizerInfo
    empty: tuple[int, ...]
    size: int


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """Read vocab.json, merges.txt and tokenizer_config.json of a CLIP tokenizer.

    Raises:
        TokenizerError: a file is missing, or says what no CLIP tokenizer does.
    """
    vocabulary: dict[str, int] = json.loads(_text(folder / "vocab.json"))
    settings: dict[str, Any] = json.loads(_text(folder / "tokenizer_config.json"))

    def id_of(key: str, default: str) -> int:
        setting = settings.get(key, default)
        token = setting["content"] if isinstance(setting, dict) else setting
        if token not in vocabulary:
            raise TokenizerError(f"{folder}: {key} {token!r} is not in vocab.json")
        return vocabulary[token]

    start, end = id_of("bos_token", START), id_of("eos_token", END)
    length, pad = int(settings.get("model_max_length", 77)), id_of("pad_token", END)
    digest = tokenizer_digest(vocabulary, _text(folder / "merges.txt"))
    return TokenizerFiles(
        info=TokenizerInfo(digest=digest, pad_id=pad, max_length=length),
        empty=(start, end, *[pad] * (length - 2)),
        size=max(vocabulary.values()) + 1,
    )


def tokenizer_digest(vocabulary: dict[str, int], merges: str) -> str:
    """The digest that protocol/README.md defines.

    Args:
        vocabulary: ids by token.
        merges: the text of merges.txt.
    """
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kept = [line for line in merges.split("\n") if line and not line.startswith("#version")]
    return hashlib.sha256("\n".join([*tokens, "", *kept]).encode()).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenizerError(
            f"{path} cannot be read: a model folder needs vocab.json, merges.txt and "
            "tokenizer_config.json in tokenizer/ and tokenizer_2/"
        ) from error

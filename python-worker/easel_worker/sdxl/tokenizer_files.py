"""What the engine needs of the tokenizers' files: who they are, and how an empty text looks.

Turning text into ids is the gateway's work.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from easel_worker.engine import TokenizerInfo
from easel_worker.tokenizer_digest import tokenizer_info

START, END = "<|startoftext|>", "<|endoftext|>"
"""What CLIP puts before and after a text."""


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
    """Read the files of a CLIP tokenizer.

    Raises:
        TokenizerError: a file is missing, or says what no CLIP tokenizer does.
    """
    try:
        info = tokenizer_info(folder)
        vocabulary: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
    except OSError as error:
        raise TokenizerError(
            f"{error.filename} cannot be read: a model folder needs vocab.json, merges.txt and "
            "tokenizer_config.json in tokenizer/ and tokenizer_2/"
        ) from error
    for token in (START, END):
        if token not in vocabulary:
            raise TokenizerError(f"{folder / 'vocab.json'} has no {token}: it is not CLIP's")
    pads = [info.pad_id] * (info.max_length - 2)
    return TokenizerFiles(
        info=info,
        empty=(vocabulary[START], vocabulary[END], *pads),
        size=max(vocabulary.values()) + 1,
    )

"""Reads what the engine needs from a tokenizer's folder: its identity and the empty text's ids.

The gateway tokenizes prompts.
"""

from dataclasses import dataclass
from pathlib import Path

from easel_worker.engine import TokenizerInfo
from easel_worker.text_file import TextFileError
from easel_worker.tokenizer_bpe import read_bpe
from easel_worker.tokenizer_digest import tokenizer_info

START, END = "<|startoftext|>", "<|endoftext|>"
"""CLIP's start and end tokens."""


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer of a model.

    Attributes:
        info: its identity.
        empty: the max_length ids of the empty text.
        size: of the vocabulary.
    """

    info: TokenizerInfo
    empty: tuple[int, ...]
    size: int


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """Read the files of a CLIP tokenizer.

    Raises:
        TextFileError: a file is missing or invalid, or the tokenizer is not CLIP's.
    """
    bpe = read_bpe(folder)
    info = tokenizer_info(folder, bpe)
    for token in (START, END):
        if token not in bpe.ids:
            raise TextFileError(f"{bpe.file} has no {token}: not a CLIP tokenizer")
    pads = [info.pad_id] * (info.max_length - 2)
    return TokenizerFiles(
        info=info,
        empty=(bpe.ids[START], bpe.ids[END], *pads),
        size=len(bpe.ids),
    )

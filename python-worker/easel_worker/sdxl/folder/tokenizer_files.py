"""What the engine needs of the tokenizers' files: who they are, and how an empty text looks.

Turning text into ids is the gateway's work.
"""

from dataclasses import dataclass
from pathlib import Path

from easel_worker.engine import TokenizerInfo
from easel_worker.text_file import TextFileError
from easel_worker.tokenizer_digest import read_vocabulary, tokenizer_info

START, END = "<|startoftext|>", "<|endoftext|>"
"""What CLIP puts before and after a text."""


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
        TextFileError: a file is missing or not as it should be, or is not CLIP's.
    """
    info = tokenizer_info(folder)
    vocabulary = read_vocabulary(folder / "vocab.json")
    for token in (START, END):
        if token not in vocabulary:
            raise TextFileError(f"{folder / 'vocab.json'} has no {token}: it is not CLIP's")
    pads = [info.pad_id] * (info.max_length - 2)
    return TokenizerFiles(
        info=info,
        empty=(vocabulary[START], vocabulary[END], *pads),
        size=len(vocabulary),
    )

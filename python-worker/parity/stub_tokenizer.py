"""Stub tokenizers for models with a vocabulary of about a thousand: words are hashed to ids.

Other tests compare real tokenizers; here both sides only need the same ids, through the same files
and calls as with real ones.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
PADS = {"tokenizer": END, "tokenizer_2": "!"}
"""The padding of SDXL's two tokenizers."""


def vocabulary(size: int) -> dict[str, int]:
    """Return ids by token: "!" is 0, the last two are the start and end of text, as in CLIP."""
    return {"!": 0} | {f"w{i}": i for i in range(1, size - 2)} | {START: size - 2, END: size - 1}


def write(folder: Path, name: str, size: int, length: int) -> None:
    """Write a tokenizer's files.

    Args:
        folder: the model's.
        name: "tokenizer" or "tokenizer_2".
        size: number of tokens in the vocabulary.
        length: number of ids of a text.
    """
    settings: dict[str, Any] = {
        "bos_token": START,
        "eos_token": END,
        "pad_token": PADS[name],
        "model_max_length": length,
    }
    target = folder / name
    target.mkdir(exist_ok=True)
    (target / "vocab.json").write_text(json.dumps(vocabulary(size)))
    (target / "merges.txt").write_text("#version: 0.2\n")
    (target / "tokenizer_config.json").write_text(json.dumps(settings))


def ids_of(text: str, name: str, size: int, length: int) -> list[int]:
    """Return the ids of a text: a hash of each word."""
    hashes = [hashlib.sha256(word.encode()).digest() for word in text.split()]
    words = [1 + int.from_bytes(digest[:4]) % (size - 3) for digest in hashes][: length - 2]
    pad = vocabulary(size)[PADS[name]]
    ids = [size - 2, *words, size - 1]
    return ids + [pad] * (length - len(ids))

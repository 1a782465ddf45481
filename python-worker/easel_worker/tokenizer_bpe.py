"""Reads a CLIP tokenizer's byte-level BPE from its folder.

The gateway reads it by the same rules (src/tokenizer/bpe-files.ts). Test cases for both:
test/tokenizer/golden/folders.json.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel_worker.text_file import TextFileError, read_object, read_text

TOKENIZER_JSON = "tokenizer.json"


@dataclass(frozen=True)
class Bpe:
    """The content of a tokenizer's files.

    Attributes:
        ids: id by token, in order of the ids, which are consecutive from 0.
        merges: pairs of tokens with a space between, in order of rank.
        file: the file that has the tokens, for messages.
    """

    ids: dict[str, int]
    merges: tuple[str, ...]
    file: Path


def read_bpe(folder: Path) -> Bpe:
    """Read `tokenizer.json` or, without one, `vocab.json` and `merges.txt`, as transformers does.

    CLIPTokenizer takes the vocabulary and the merges of a `tokenizer.json`. It does not use the
    normalizer, pre-tokenizer and post-processor of that file.
    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py#L105

    Raises:
        OSError: a file cannot be read.
        TextFileError: a file is missing or invalid.
    """
    if (folder / TOKENIZER_JSON).exists():
        return _read_tokenizer_json(folder / TOKENIZER_JSON)
    vocab_json, merges_txt = folder / "vocab.json", folder / "merges.txt"
    try:
        ids = _ids(vocab_json, read_object(vocab_json, plain_numbers=True))
        return Bpe(ids, _read_merge_lines(merges_txt), vocab_json)
    except FileNotFoundError as error:
        raise TextFileError(
            f"{error.filename} is missing: a tokenizer folder needs {TOKENIZER_JSON}, or "
            "vocab.json and merges.txt"
        ) from error


def _read_tokenizer_json(path: Path) -> Bpe:
    content = read_object(path, plain_numbers=True)
    model: Any = content.get("model")
    vocabulary: Any = model.get("vocab") if isinstance(model, dict) else None
    merges: Any = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise TextFileError(f"{path} has no model with vocab and merges")
    if model.get("type", "BPE") not in ("BPE", None):
        shown = json.dumps(model["type"])
        raise TextFileError(f"{path}: model.type is {shown}, but CLIP's tokenizer is a BPE")
    for name in ("truncation", "padding"):
        settings = content.get(name)
        direction = settings.get("direction") if isinstance(settings, dict) else None
        if direction not in ("Right", None):
            shown = json.dumps(direction)
            raise TextFileError(f'{path}: {name}.direction is {shown}; only "Right" is supported')
    _check_added_tokens(path, content.get("added_tokens"))
    return Bpe(_ids(path, vocabulary), tuple(_merge(path, merge) for merge in merges), path)


def _check_added_tokens(path: Path, tokens: object) -> None:
    """The gateway finds these tokens in prompts; a worker that starts must be able to serve one."""
    listed = [] if tokens is None else tokens
    if not isinstance(listed, list) or not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) for token in listed
    ):
        raise TextFileError(f"{path}: added_tokens must be a list of objects with content")


def _ids(path: Path, vocabulary: dict[str, Any]) -> dict[str, int]:
    tokens: dict[int, str] = {}
    for token, number in vocabulary.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            shown = json.dumps(number)
            raise TextFileError(f"{path} has the id {shown}, which is not a whole number")
        if re.search("[\ud800-\udfff]", token):
            shown = json.dumps(token)
            raise TextFileError(f"{path} has a token that is not Unicode: {shown}")
        if number in tokens:
            raise TextFileError(f"{path} gives the id {number} twice")
        tokens[number] = token
    for number in range(len(tokens)):
        if number not in tokens:
            raise TextFileError(f"{path} has no token with the id {number}, but has higher ids")
    return {tokens[number]: number for number in range(len(tokens))}


def _read_merge_lines(path: Path) -> tuple[str, ...]:
    """Split lines at LF or CRLF only, as transformers does.

    Merges may hold characters that str.splitlines() would split at. Transformers takes a file with
    CR only for one comment line.
    """
    lines = re.split("\r?\n", read_text(path))
    if any("\r" in line for line in lines):
        raise TextFileError(f"{path} has a CR without an LF: save it with LF or CRLF line ends")
    merges = [line for line in lines if line and not line.startswith("#version")]
    for line in merges:
        if line.count(" ") != 1:
            shown = json.dumps(line, ensure_ascii=False)
            raise TextFileError(f"{path} has the line {shown}, which is not two tokens")
    return tuple(merges)


def _merge(path: Path, merge: Any) -> str:
    """A merge of `tokenizer.json`: older tokenizers write "a b", newer ones ["a", "b"]."""
    pair: Any = merge.split(" ") if isinstance(merge, str) else merge
    tokens: list[Any] = pair if isinstance(pair, list) and len(pair) == 2 else [None]
    if not all(isinstance(token, str) and " " not in token for token in tokens):
        shown = json.dumps(merge, ensure_ascii=False, separators=(",", ":"))
        raise TextFileError(f"{path} has the merge {shown}, which is not two tokens")
    return " ".join(tokens)

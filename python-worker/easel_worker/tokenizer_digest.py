"""Identity of a CLIP tokenizer, by which the gateway knows that its token ids fit the model."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from easel_worker.engine import TokenizerInfo
from easel_worker.text_file import TextFileError, read_object, read_text

END_OF_TEXT = "<|endoftext|>"
CLIP_MAX_LENGTH = 77
UNLIMITED = 1e9
"""Transformers writes 10**30 for a tokenizer without a limit."""


def digest(vocab_json: Path, merges_txt: Path) -> str:
    """SHA-256 (hex) over the vocabulary and the merges, as `protocol/README.md` defines it.

    Raises:
        OSError: a file cannot be read.
        TextFileError: a file is not as it should be.
    """
    tokens = "\n".join(read_vocabulary(vocab_json))
    merges = "\n".join(_read_merges(merges_txt))
    return hashlib.sha256(f"{tokens}\n\n{merges}".encode()).hexdigest()


def read_vocabulary(vocab_json: Path) -> dict[str, int]:
    """The tokens and their ids, which are 0, 1, 2 and so on, in this order.

    Raises:
        OSError: the file cannot be read.
        TextFileError: an id is not a number, is there twice, or is left out.
    """
    tokens: dict[int, str] = {}
    for token, number in read_object(vocab_json, plain_numbers=True).items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            shown = json.dumps(number)
            raise TextFileError(f"{vocab_json} has the id {shown}, which is not a whole number")
        if re.search("[\ud800-\udfff]", token):
            shown = json.dumps(token)
            raise TextFileError(f"{vocab_json} has a token that is not Unicode: {shown}")
        if number in tokens:
            raise TextFileError(f"{vocab_json} gives the id {number} twice")
        tokens[number] = token
    for number in range(len(tokens)):
        if number not in tokens:
            raise TextFileError(f"{vocab_json} has no token with the id {number}")
    return {tokens[number]: number for number in range(len(tokens))}


def _read_merges(merges_txt: Path) -> list[str]:
    """The lines, which end with LF or CRLF, as for transformers.

    Only those end one: merges may hold characters that str.splitlines() would split at. Of a file
    with CR alone transformers would take all for one comment.
    """
    lines = re.split("\r?\n", read_text(merges_txt))
    if any("\r" in line for line in lines):
        raise TextFileError(
            f"{merges_txt} has a CR without an LF: save it with LF or CRLF line ends"
        )
    merges = [line for line in lines if line and not line.startswith("#version")]
    for line in merges:
        if line.count(" ") != 1:
            shown = json.dumps(line, ensure_ascii=False)
            raise TextFileError(f"{merges_txt} has the line {shown}, which is not two tokens")
    return merges


def tokenizer_info(folder: Path) -> TokenizerInfo:
    """Identity of the tokenizer in a diffusers `tokenizer` folder, as transformers reads it.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_base.py#L1874

    Raises:
        OSError: a file cannot be read.
        TextFileError: a file is missing or not as it should be, or the padding token is no token.
    """
    try:
        return _tokenizer_info(folder)
    except FileNotFoundError as error:
        raise TextFileError(
            f"{error.filename} is missing: a tokenizer folder needs vocab.json and merges.txt"
        ) from error


def _tokenizer_info(folder: Path) -> TokenizerInfo:
    vocab_json = folder / "vocab.json"
    vocabulary = read_vocabulary(vocab_json)
    settings = _read_optional(folder / "tokenizer_config.json")
    pad_token = _pad_token(folder, settings)
    if pad_token not in vocabulary:
        raise TextFileError(
            f"{vocab_json} has no token {json.dumps(pad_token)}, which is the padding token"
        )
    return TokenizerInfo(
        digest=digest(vocab_json, folder / "merges.txt"),
        pad_id=vocabulary[pad_token],
        max_length=_max_length(folder, settings.get("model_max_length")),
    )


def _pad_token(folder: Path, settings: dict[str, Any]) -> str:
    """What special_tokens_map.json says wins, unless tokenizer_config.json lists added tokens."""
    named = {"pad_token": END_OF_TEXT} | settings
    special_tokens = _read_optional(folder / "special_tokens_map.json")
    if "added_tokens_decoder" not in settings:
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


def _max_length(folder: Path, value: object) -> int:
    """CLIP's for a folder that says nothing, or that there is no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value >= UNLIMITED:
        return CLIP_MAX_LENGTH
    if value < 2 or value != int(value):  # start and end
        raise TextFileError(
            f"{folder / 'tokenizer_config.json'}: model_max_length must be a whole number, 2 or "
            f"more, not {value}"
        )
    return int(value)


def _read_optional(path: Path) -> dict[str, Any]:
    """The file's object, or an empty one: both files are optional in a diffusers folder."""
    try:
        return read_object(path, plain_numbers=True)
    except FileNotFoundError:
        return {}

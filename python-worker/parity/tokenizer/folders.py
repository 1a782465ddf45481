"""Tokenizer folders with unusually written or invalid files, for `folders.json`.

A case changes files of a small base folder. For each file, None removes it; otherwise `text`
replaces it, `line_end` replaces its "\n", `before` and `after` surround it, and `after_hex` is
appended as bytes, in this order. `reads` says whether Easel reads the folder; if so, the result
equals the base folder's. Otherwise `says` is a part of the error, with the file's name.
"""

import json
from pathlib import Path
from typing import Any, TypedDict

START, END = "<|startoftext|>", "<|endoftext|>"
PROBE = "ab a b AB"
BOM = "\ufeff"


class Change(TypedDict, total=False):
    """The changes to one file of the base folder."""

    text: str
    line_end: str
    before: str
    after: str
    after_hex: str


class Case(TypedDict, total=False):
    """A folder, and whether Easel reads it."""

    name: str
    files: dict[str, Change | None]
    reads: bool
    says: str


def base() -> dict[str, str]:
    """Return the files of the base folder, by name."""
    letters = [chr(byte) for byte in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    letters += [chr(256 + i) for i in range(256 - len(letters))]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "ab</w>", "ab", START, END]
    config = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": "!"}
    return {
        "vocab.json": json.dumps({t: i for i, t in enumerate(tokens)}, indent=0) + "\n",
        "merges.txt": "#version: 0.2\na b</w>\na b\n",
        "tokenizer_config.json": json.dumps(config | {"model_max_length": 77}, indent=2) + "\n",
        "special_tokens_map.json": json.dumps(config, indent=2) + "\n",
    }


LEFT_TRUNCATION = {
    "direction": "Left",
    "max_length": 77,
    "strategy": "LongestFirst",
    "stride": 0,
}


def tokenizer_json(**model: Any) -> dict[str, Any]:
    """The base folder's vocabulary and merges as a `tokenizer.json`, with changes to its model."""
    bpe: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": END,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "</w>",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": json.loads(base()["vocab.json"]),
        "merges": [["a", "b</w>"], ["a", "b"]],
    }
    changed = {key: value for key, value in (bpe | model).items() if value is not None}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": changed,
    }


def without_bpe(content: dict[str, Any]) -> dict[str, Change | None]:
    """A folder with this `tokenizer.json`, without `vocab.json` and `merges.txt`."""
    return {
        "vocab.json": None,
        "merges.txt": None,
        "tokenizer.json": {"text": json.dumps(content)},
    }


def cases() -> list[Case]:
    """Return all folders."""
    names = list(base())
    crlf: dict[str, Change | None] = {name: {"line_end": "\r\n"} for name in names}
    marked: dict[str, Change | None] = {name: {"before": BOM} for name in names}
    read: list[Case] = [
        {"name": "as usual", "files": {}},
        {"name": "CRLF in all files", "files": crlf},
        {"name": "a BOM in all files", "files": marked},
        {
            "name": "a BOM and CRLF in all files",
            "files": {name: {"before": BOM, "line_end": "\r\n"} for name in names},
        },
        *({"name": f"CRLF in {name}", "files": {name: {"line_end": "\r\n"}}} for name in names),
        *({"name": f"a BOM in {name}", "files": {name: {"before": BOM}}} for name in names),
        {"name": "blank lines at the end", "files": {"merges.txt": {"after": "\n\n"}}},
        {"name": "blank CRLF lines at the end", "files": {"merges.txt": {"after": "\r\n\r\n"}}},
        {"name": "blank lines at the start", "files": {"merges.txt": {"before": "\n\n"}}},
        {
            "name": "no line end at the end",
            "files": {"merges.txt": {"text": "#version: 0.2\na b</w>\na b"}},
        },
        {"name": "no version line", "files": {"merges.txt": {"text": "a b</w>\na b\n"}}},
        {
            "name": "a version line in the middle",
            "files": {"merges.txt": {"text": "a b</w>\n#version: 0.2\na b\n"}},
        },
        {"name": "blanks around", "files": {"vocab.json": {"before": " \n", "after": "\t"}}},
        {"name": "no special_tokens_map.json", "files": {"special_tokens_map.json": None}},
        {"name": "tokenizer.json", "files": without_bpe(tokenizer_json())},
        {
            "name": "tokenizer.json with merges as strings",
            "files": without_bpe(tokenizer_json(merges=["a b</w>", "a b"])),
        },
        {
            "name": "tokenizer.json without a model type",
            "files": without_bpe(tokenizer_json(type=None)),
        },
        {
            "name": "tokenizer.json and other vocab.json and merges.txt",
            "files": {
                "tokenizer.json": {"text": json.dumps(tokenizer_json())},
                "vocab.json": {"text": '{"a": 0}'},
                "merges.txt": {"text": ""},
            },
        },
        {
            "name": "tokenizer.json with another normalizer, which CLIPTokenizer ignores",
            "files": without_bpe(tokenizer_json() | {"normalizer": None}),
        },
    ]
    refused: list[Case] = [
        {
            "name": "merges.txt in Latin-1",
            "files": {"merges.txt": {"after_hex": "e920610a"}},
            "says": "merges.txt is not UTF-8",
        },
        {
            "name": "vocab.json in Latin-1",
            "files": {"vocab.json": {"after_hex": "e9"}},
            "says": "vocab.json is not UTF-8",
        },
        {
            "name": "vocab.json in UTF-16",
            "files": {"vocab.json": {"text": "", "after_hex": "fffe7b007d00"}},
            "says": "vocab.json is not UTF-8",
        },
        {
            "name": "a lone CR as line end",
            "files": {"merges.txt": {"line_end": "\r"}},
            "says": "merges.txt has a CR without an LF",
        },
        {
            "name": "a CR inside a CRLF line",
            "files": {"merges.txt": {"text": "a b</w>\r\r\na b\r\n"}},
            "says": "merges.txt has a CR without an LF",
        },
        {
            "name": "a blank at the end of a line",
            "files": {"merges.txt": {"text": "a b</w> \na b\n"}},
            "says": "merges.txt has the line",
        },
        {
            "name": "a trailing comma in vocab.json",
            "files": {"vocab.json": {"text": '{"a": 0,}'}},
            "says": "vocab.json is not valid JSON",
        },
        {
            "name": "a trailing comma in tokenizer_config.json",
            "files": {"tokenizer_config.json": {"text": '{"pad_token": "!",}'}},
            "says": "tokenizer_config.json is not valid JSON",
        },
        {
            "name": "NaN in tokenizer_config.json",
            "files": {"tokenizer_config.json": {"text": '{"model_max_length": NaN}'}},
            "says": "tokenizer_config.json is not valid JSON",
        },
        {
            "name": "a list in vocab.json",
            "files": {"vocab.json": {"text": "[]"}},
            "says": "vocab.json must hold a JSON object",
        },
        {
            "name": "null in special_tokens_map.json",
            "files": {"special_tokens_map.json": {"text": "null"}},
            "says": "special_tokens_map.json must hold a JSON object",
        },
        {
            "name": "an id twice",
            "files": {"vocab.json": {"text": '{"a": 0, "b": 0}'}},
            "says": "vocab.json gives the id 0 twice",
        },
        {
            "name": "a gap between ids",
            "files": {"vocab.json": {"text": '{"a": 0, "b": 2}'}},
            "says": "vocab.json has no token with the id 1",
        },
        {
            "name": "an id in quotes",
            "files": {"vocab.json": {"text": '{"a": "0"}'}},
            "says": "vocab.json has the id",
        },
        {
            "name": "half a surrogate pair in a token",
            "files": {"vocab.json": {"text": '{"\\ud800": 0}'}},
            "says": "vocab.json has a token that is not Unicode",
        },
        {
            "name": "a pad token that is not in the vocabulary",
            "files": {"special_tokens_map.json": {"text": '{"pad_token": "[PAD]"}'}},
            "says": 'vocab.json has no token "[PAD]"',
        },
        {
            "name": "a pad token without its text",
            "files": {"special_tokens_map.json": {"text": '{"pad_token": {"special": true}}'}},
            "says": "pad_token has no content",
        },
        {
            "name": "no room for a text",
            "files": {"tokenizer_config.json": {"text": '{"model_max_length": 1}'}},
            "says": "tokenizer_config.json: model_max_length",
        },
        {"name": "no vocab.json", "files": {"vocab.json": None}, "says": "vocab.json is missing"},
        {
            "name": "tokenizer.json of another kind of model",
            "files": without_bpe(tokenizer_json(type="WordPiece")),
            "says": 'tokenizer.json: model.type is "WordPiece"',
        },
        {
            "name": "tokenizer.json without a vocabulary",
            "files": without_bpe(tokenizer_json(vocab=None)),
            "says": "tokenizer.json has no model with vocab and merges",
        },
        {
            "name": "tokenizer.json with a merge of three tokens",
            "files": without_bpe(tokenizer_json(merges=[["a", "b", "c"]])),
            "says": 'tokenizer.json has the merge ["a",',
        },
        {
            "name": "tokenizer.json with an id twice",
            "files": without_bpe(tokenizer_json(vocab={"a": 0, "b": 0})),
            "says": "tokenizer.json gives the id 0 twice",
        },
        {
            "name": "tokenizer.json with an added token without its text",
            "files": without_bpe(tokenizer_json() | {"added_tokens": [{"id": 0}]}),
            "says": "tokenizer.json: added_tokens must be",
        },
        {
            "name": "tokenizer.json that truncates at the left",
            "files": without_bpe(tokenizer_json() | {"truncation": LEFT_TRUNCATION}),
            "says": 'tokenizer.json: truncation.direction is "Left"',
        },
        {
            "name": "padding at the left",
            "files": {"tokenizer_config.json": {"text": '{"padding_side": "left"}'}},
            "says": 'tokenizer_config.json: padding_side is "left"',
        },
        {
            "name": "special tokens that are split",
            "files": {"tokenizer_config.json": {"text": '{"split_special_tokens": true}'}},
            "says": "tokenizer_config.json: split_special_tokens is true",
        },
        {"name": "no merges.txt", "files": {"merges.txt": None}, "says": "merges.txt is missing"},
    ]
    return [
        *({**case, "reads": True} for case in read),
        *({**case, "reads": False} for case in refused),
    ]


def write(folder: Path, files: dict[str, Change | None]) -> None:
    """Make the folder of a case."""
    texts = base()
    for name in {**texts, "tokenizer.json": None}:
        change = files.get(name, Change() if name in texts else None)
        (folder / name).unlink(missing_ok=True)
        if change is None:
            continue
        body = change.get("text", texts.get(name, "")).replace("\n", change.get("line_end", "\n"))
        around = change.get("before", "") + body + change.get("after", "")
        raw = around.encode() + bytes.fromhex(change.get("after_hex", ""))
        (folder / name).write_bytes(raw)

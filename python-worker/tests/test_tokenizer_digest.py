"""A tokenizer's identity is its vocabulary and its merges, and nothing else."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from easel_worker.tokenizer_digest import digest, tokenizer_info

VOCAB = {"b</w>": 1, "a": 0, "é</w>": 2, "<|endoftext|>": 3, "!": 4}


def folder(path: Path, merges: str = "#version: 0.2\na b</w>\n", **files: Any) -> Path:
    path.mkdir()
    (path / "vocab.json").write_text(json.dumps(VOCAB), encoding="utf-8")
    (path / "merges.txt").write_text(merges, encoding="utf-8", newline="")
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_digest_is_of_tokens_by_id_then_merges(tmp_path: Path) -> None:
    files = folder(tmp_path / "t", "#version: 0.2\na b</w>\n\nx\u2028y z\n")
    text = "a\nb</w>\né</w>\n<|endoftext|>\n!\n\na b</w>\nx\u2028y z"
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert digest(files / "vocab.json", files / "merges.txt") == expected


@pytest.mark.parametrize(
    ("files", "pad_id"),
    [
        ({}, 3),
        ({"tokenizer_config": {"pad_token": "!"}}, 4),
        ({"special_tokens_map": {"pad_token": {"content": "!", "lstrip": False}}}, 4),
        (
            {
                "tokenizer_config": {"pad_token": {"content": "<|endoftext|>"}},
                "special_tokens_map": {"pad_token": "!"},
            },
            3,
        ),
    ],
)
def test_the_padding_is_the_one_that_the_folder_says(
    tmp_path: Path, files: dict[str, Any], pad_id: int
) -> None:
    info = tokenizer_info(folder(tmp_path / "t", **files))
    assert (info.pad_id, info.max_length) == (pad_id, 77)


def test_the_length_is_the_folders(tmp_path: Path) -> None:
    files = folder(tmp_path / "t", tokenizer_config={"model_max_length": 16})
    assert tokenizer_info(files).max_length == 16


def test_a_padding_token_that_is_not_in_the_vocabulary_is_an_error(tmp_path: Path) -> None:
    files = folder(tmp_path / "t", tokenizer_config={"pad_token": "[PAD]"})
    with pytest.raises(ValueError, match=r"'\[PAD\]' is not in vocab.json"):
        tokenizer_info(files)

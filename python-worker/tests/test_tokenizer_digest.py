"""A tokenizer's digest depends only on its vocabulary and merges."""

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from easel_worker.tokenizer_bpe import read_bpe
from easel_worker.tokenizer_digest import digest, tokenizer_info

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "demo"
GATEWAYS = ROOT / "test" / "tokenizer" / "golden"
"""Golden files made with transformers, which the gateway's tests read too."""
SETTINGS = json.loads((GATEWAYS / "settings.json").read_text())["rows"]
SAVED = json.loads((GATEWAYS / "saved.json").read_text())["rows"]
FOLDERS = json.loads((GATEWAYS / "folders.json").read_text())
SDXL_DIGEST = "05f6f898f4f9c824c37b7dcacccc3d2e3ebab7b5a76de05da606127062a08e0e"
VOCAB = {"b</w>": 1, "a": 0, "é</w>": 2, "<|endoftext|>": 3, "!": 4}


def folder(path: Path, merges: str = "#version: 0.2\na b</w>\n", **files: Any) -> Path:
    path.mkdir()
    (path / "vocab.json").write_text(json.dumps(VOCAB), encoding="utf-8")
    (path / "merges.txt").write_text(merges, encoding="utf-8", newline="")
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_digest_covers_tokens_by_id_then_merges(tmp_path: Path) -> None:
    files = folder(tmp_path / "t", "#version: 0.2\na b</w>\n\nx\u2028y z\n")
    text = "a\nb</w>\né</w>\n<|endoftext|>\n!\n\na b</w>\nx\u2028y z"
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert digest(read_bpe(files)) == expected


def test_worker_and_gateway_compute_the_same_digest_of_the_demo_model() -> None:
    for name in ("tokenizer", "tokenizer_2"):
        info = tokenizer_info(DEMO / name)
        assert info.digest == json.loads((GATEWAYS / "clip-ids.json").read_text())["digest"]
        assert info.digest == SDXL_DIGEST


@pytest.mark.parametrize(
    "row", SETTINGS, ids=lambda row: json.dumps([row["config"], row["map"], row.get("added")])
)
def test_reads_the_padding_token_that_transformers_reads(tmp_path: Path, row: Any) -> None:
    files = {"tokenizer_config": row["config"], "special_tokens_map": row["map"]}
    if "added" in row:
        files["tokenizer"] = tokenizer_json(DEMO / "tokenizer") | {"added_tokens": row["added"]}
    else:
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / name).symlink_to(DEMO / "tokenizer" / name)
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert tokenizer_info(tmp_path).pad_id == row["pad"]


@cache
def tokenizer_json(folder: Path) -> dict[str, Any]:
    """`vocab.json` and `merges.txt` as a `tokenizer.json`."""
    bpe = read_bpe(folder)
    merges = [merge.split(" ") for merge in bpe.merges]
    return {"model": {"type": "BPE", "vocab": bpe.ids, "merges": merges}}


@pytest.mark.parametrize("row", SAVED, ids=lambda row: row["name"])
def test_a_tokenizer_that_transformers_5_saved_is_the_original(tmp_path: Path, row: Any) -> None:
    files = row["files"]
    files["tokenizer.json"]["model"] |= tokenizer_json(DEMO / row["name"])["model"]
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert tokenizer_info(tmp_path) == tokenizer_info(DEMO / row["name"])


@pytest.mark.parametrize(
    ("settings", "length"),
    [({}, 77), ({"model_max_length": 16}, 16), ({"model_max_length": int(1e30)}, 77)],
)
def test_the_length_is_model_max_length(
    tmp_path: Path, settings: dict[str, Any], length: int
) -> None:
    files = folder(tmp_path / "t", tokenizer_config=settings)
    assert tokenizer_info(files).max_length == length


def test_a_null_padding_token_is_refused(tmp_path: Path) -> None:
    files = folder(tmp_path / "t", tokenizer_config={"pad_token": None})
    with pytest.raises(ValueError, match="pad_token is null"):
        tokenizer_info(files)


def test_a_padding_token_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    files = folder(tmp_path / "t", tokenizer_config={"pad_token": "[PAD]"})
    with pytest.raises(ValueError, match=r'vocab.json has no token "\[PAD\]"'):
        tokenizer_info(files)


def write_case(path: Path, files: dict[str, Any]) -> Path:
    """Write a case; parity/tokenizer/folders.py documents its fields."""
    path.mkdir()
    base = FOLDERS["base"]
    for name in [*base, "tokenizer.json"]:
        change = files.get(name, {} if name in base else None)
        if change is None:
            continue
        body = change.get("text", base.get(name, "")).replace("\n", change.get("line_end", "\n"))
        whole = change.get("before", "") + body + change.get("after", "")
        raw = whole.encode() + bytes.fromhex(change.get("after_hex", ""))
        (path / name).write_bytes(raw)
    return path


@pytest.mark.parametrize("case", FOLDERS["rows"], ids=lambda case: case["name"])
def test_worker_gateway_and_transformers_read_a_folder_alike(tmp_path: Path, case: Any) -> None:
    base, files = write_case(tmp_path / "base", {}), write_case(tmp_path / "case", case["files"])
    if case["reads"]:
        assert tokenizer_info(files) == tokenizer_info(base)
        assert tokenizer_info(files).pad_id == (case["reference"] or {"pad": 0})["pad"]
    else:
        with pytest.raises(ValueError, match=re.escape(case["says"])):
            tokenizer_info(files)


def test_refused_folders_that_transformers_reads() -> None:
    """These folders do not mean what they appear to say, or change what a prompt means."""
    refused = [c["name"] for c in FOLDERS["rows"] if not c["reads"] and c["reference"]]
    assert refused == [
        "a lone CR as line end",
        "NaN in tokenizer_config.json",
        "a pad token that is not in the vocabulary",
        "a pad token without its text",
        "no room for a text",
        "tokenizer.json with an added token without its text",
        "tokenizer.json that truncates at the left",
        "padding at the left",
        "special tokens that are split",
    ]

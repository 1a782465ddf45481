"""Writes `test/tokenizer/golden/`: the outputs of transformers' CLIPTokenizer.

The folders are those of the demo model, which has SDXL's vocabulary. Run from `python-worker/`:

    .venv-torch/bin/python -m parity.tokenizer.make_goldens
"""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tokenizers
import transformers
from transformers import CLIPTokenizer

from parity.tokenizer import folders
from parity.tokenizer.settings import SETTINGS_PROBE, added_tokens, folder_settings
from parity.tokenizer.texts import texts

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "test" / "tokenizer" / "golden"
MODEL = ROOT / "models" / "demo"
BLOCK = 0x1000
MAX_LENGTH = 77

Golden = dict[str, object]


def ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """Return all ids of `text` with start and end; check truncation and padding against them."""
    whole: list[int] = tokenizer(text).input_ids
    padded = tokenizer(text, padding="max_length", max_length=MAX_LENGTH, truncation=True).input_ids
    body = [*whole[:-1][: MAX_LENGTH - 1], tokenizer.eos_token_id]
    expected = body + [tokenizer.pad_token_id] * (MAX_LENGTH - len(body))
    if padded != expected:
        raise AssertionError(f"the reference truncates or pads in an unexpected way: {text!r}")
    return whole


def text_goldens(first: CLIPTokenizer, second: CLIPTokenizer) -> list[Golden]:
    """Yield `{text, ids}`, with `ids_2` where the second tokenizer's ids differ."""
    goldens: list[Golden] = []
    for text in dict.fromkeys(texts()):
        one, two = ids(first, text), ids(second, text)
        goldens.append({"text": text, "ids": one} | ({"ids_2": two} if one != two else {}))
    return goldens


def probe(point: int) -> str:
    """Return a text whose ids reveal a character's class, lowercase, combining class and bytes."""
    c = chr(point)
    if point >= 0x40000 and point >> 16 != 0xE:  # all unassigned or private
        return f"a{c}1"
    return f"a{c}b 1\u0301{c}\u0334"


def sweep(tokenizer: CLIPTokenizer) -> list[str]:
    """Return a digest of the probes' ids for each block of characters, without surrogates."""
    digests = []
    for start in range(0, 0x110000, BLOCK):
        points = [p for p in range(start, start + BLOCK) if not 0xD800 <= p < 0xE000]
        text = " ".join(probe(p) for p in points)
        joined = ",".join(map(str, tokenizer(text).input_ids))
        digests.append(hashlib.sha256(joined.encode()).hexdigest()[:16])
    return digests


def settings_goldens() -> list[Golden]:
    """The ids of `SETTINGS_PROBE` with other special tokens: `{config, map, pad, ids}`.

    Rows with `added` are of folders with a `tokenizer.json` that has these `added_tokens`.
    """
    goldens: list[Golden] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("vocab.json", "merges.txt"):
            (folder / file).symlink_to(MODEL / "tokenizer" / file)
        for config, special_tokens_map in folder_settings():
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
            (folder / "special_tokens_map.json").write_text(json.dumps(special_tokens_map))
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            found = {"pad": tokenizer.pad_token_id, "ids": tokenizer(SETTINGS_PROBE).input_ids}
            goldens.append({"config": config, "map": special_tokens_map} | found)
        for config, special_tokens_map, added in added_tokens():
            content = tokenizer_json(MODEL / "tokenizer") | {"added_tokens": added}
            (folder / "tokenizer.json").write_text(json.dumps(content))
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
            (folder / "special_tokens_map.json").write_text(json.dumps(special_tokens_map))
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            found = {"pad": tokenizer.pad_token_id, "ids": tokenizer(SETTINGS_PROBE).input_ids}
            row = {"config": config, "map": special_tokens_map, "added": added}
            goldens.append(row | found)
    return goldens


def tokenizer_json(folder: Path) -> Golden:
    """`vocab.json` and `merges.txt` as a `tokenizer.json`."""
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    return {"version": "1.0", "model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}


def saved_goldens(tokenizers: dict[str, CLIPTokenizer]) -> list[Golden]:
    """Each tokenizer as `save_pretrained` writes it: `{name, files}`, without its vocabulary.

    Checks that transformers reads the saved folder as it reads the original one.
    """
    goldens: list[Golden] = []
    for name, tokenizer in tokenizers.items():
        with TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            saved = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            different = [t for t in texts() if saved(t).input_ids != tokenizer(t).input_ids]
            if different or saved.pad_token_id != tokenizer.pad_token_id:
                raise AssertionError(f"{name}: saving changes the reference: {different[:3]}")
            files = {path.name: json.loads(path.read_text()) for path in Path(folder).iterdir()}
        original: Any = tokenizer_json(MODEL / name)["model"]
        model = files["tokenizer.json"]["model"]
        for key in ("vocab", "merges"):
            if model.pop(key) != original[key]:
                raise AssertionError(f"{name}: saving changes the {key} of the reference")
        goldens.append({"name": name, "files": files})
    return goldens


def folder_goldens() -> list[Golden]:
    """Return the cases of `folders`, each with `reference`: `{pad, ids}` of the probe text, or
    null for a folder that transformers refuses."""
    goldens: list[Golden] = []
    with TemporaryDirectory() as name:
        for case in folders.cases():
            folders.write(Path(name), case["files"])
            found: Golden | None
            try:
                tokenizer = CLIPTokenizer.from_pretrained(name, local_files_only=True)
            except Exception:  # noqa: BLE001 - tokenizers raises the bare class
                found = None
            else:
                read = tokenizer(folders.PROBE).input_ids
                found = {"pad": tokenizer.pad_token_id, "ids": read}
            goldens.append({**case, "reference": found})
    return goldens


def vocabulary_digest(folder: Path) -> str:
    """Return the digest that `protocol/README.md` defines."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    tokens = "\n".join(sorted(vocabulary, key=vocabulary.__getitem__))
    kept = "\n".join(line for line in merges if line and not line.startswith("#version"))
    return hashlib.sha256(f"{tokens}\n\n{kept}".encode()).hexdigest()


def write(name: str, golden: Golden, rows: list[Golden] | list[str]) -> None:
    """Write one row per line, so that a diff shows the changed rows."""
    head = json.dumps(golden, ensure_ascii=True)[:-1]
    body = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
    (OUTPUT / name).write_text(f'{head}, "rows": [\n{body}\n]}}\n', encoding="utf-8")


def main() -> None:
    """Run the reference and write the files."""
    first, second = (
        CLIPTokenizer.from_pretrained(MODEL / name, local_files_only=True)
        for name in ("tokenizer", "tokenizer_2")
    )
    OUTPUT.mkdir(parents=True, exist_ok=True)
    reference = f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}"
    digest = vocabulary_digest(MODEL / "tokenizer")
    goldens = text_goldens(first, second)
    write("clip-ids.json", {"reference": reference, "digest": digest}, goldens)
    write("every-character.json", {"reference": reference, "block": BLOCK}, sweep(first))
    write("settings.json", {"reference": reference, "text": SETTINGS_PROBE}, settings_goldens())
    base = {"base": folders.base(), "text": folders.PROBE}
    saved = saved_goldens({"tokenizer": first, "tokenizer_2": second})
    write("saved.json", {"reference": reference}, saved)
    write("folders.json", {"reference": reference, **base}, folder_goldens())
    print(f"{len(goldens)} texts, digest {digest}")


if __name__ == "__main__":
    main()

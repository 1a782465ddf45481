"""Write `test/tokenizer/golden/embedding-names.json`: which ids prompts that name embeddings have.

The tokenizers are the demo model's, to which diffusers adds the names. Run from `python-worker/`,
in an environment with transformers, torch, diffusers and compel 2.5.1:

    .venv-torch/bin/python -m parity.embeddings.make_names
"""

import json
import random
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from compel import Compel
from compel.diffusers_textual_inversion_manager import DiffusersTextualInversionManager
from compel.embeddings_provider import EmbeddingsProvider, SplitLongTextMode
from diffusers.loaders import TextualInversionLoaderMixin
from transformers import CLIPTokenizer

ROOT = Path(__file__).parents[3]
TARGET = ROOT / "test" / "tokenizer" / "golden" / "embedding-names.json"
MODEL = ROOT / "models" / "demo"

VECTORS = {
    "My-Style": 1,
    "qzart": 3,
    "qzart-deco": 2,
    "bad hands": 1,
    "qz.two+": 4,
    "qzink": 12,
    "y2k": 1,
    "été": 1,
    "漢": 1,
}
"""How many vectors each embedding has, in the order in which they are added."""

PIECES = (
    *("qzart", "qzart-deco", "bad hands", "bad  hands", "bad\thands", "bad\u00a0hands", "y2k"),
    *("qzink", "My-Style", "my-style", "MY-STYLE", "été", "e\u0301te\u0301", "漢", "Y2K"),
    *("qz.two+", "a", "fox", "qzarty", "heqzart", "thqzinking", "bad", "hands", "in", "y2"),
    *("qzink_1", "qzink_11", "qzink_12", "qzink_0", "qzink_01", "qzink_1x", "y2k_1", "\n", "  "),
    *(", ", ". ", "!", "-", "'s", "1", "qz", "two+"),
)
SEPARATORS = (" ", " ", " ", "", ",", "  ")

# diffusers gives a name of several vectors that is spelled otherwise only its first one. As it
# replaces text, the outcome for several names of which one is part of another, or of a name with
# its other vectors, depends on the order of a set.
TANGLED = (("qzart", "qzart-deco"), ("qzart", "qzarty"), ("qzart", "heqzart"))


class Loader(TextualInversionLoaderMixin):
    """diffusers' loader for a tokenizer alone."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.tokenizer = tokenizer
        for name, vectors in VECTORS.items():
            if name in tokenizer.get_vocab():
                raise ValueError(f"diffusers refuses {name}: it is a token")
            embeddings = [torch.zeros(vectors, 8)]
            words, _ = self._extend_tokens_and_embeddings([name], embeddings, tokenizer)
            for word in words:
                tokenizer.add_tokens(word)

    def ids(self, text: str) -> list[int]:
        """Without start and end."""
        converted = self.maybe_convert_prompt(text, self.tokenizer)
        found: list[int] = self.tokenizer(converted, add_special_tokens=False)["input_ids"]
        return found


def texts() -> Iterator[str]:
    """Prompts with names, apart and inside words."""
    yield from PIECES
    random_ = random.Random(17)
    for _ in range(300):
        pieces = random_.choices(PIECES, k=random_.randint(2, 7))
        text = "".join(piece + random_.choice(SEPARATORS) for piece in pieces)
        if "qzink_" in text and text.count("qzink") > 1:
            continue
        if not any(one in text.replace(other, "") and other in text for one, other in TANGLED):
            yield text


COMPEL = (
    "a fox in qzart style",
    "a (fox qzart)1.3 in qzink",
    "qzink++ drawing of (bad hands)0.5",
    "qzart qzart, qzart",
    "y2k" + " fox" * 70 + " qzink fox",
    "a fox, " * 20 + "qzink" + " y2k fox" * 20,
    "qzink " * 8,
    "(qzart)1.2 " * 30,
)


def compel_row(text: str, providers: list[EmbeddingsProvider]) -> Mapping[str, Any]:
    """Return a text's ids and weights, 77 for each chunk, for both encoders."""
    conjunction = Compel.parse_prompt_string(text)
    fragments = [each for prompt in conjunction.prompts for each in prompt.children]
    words, weights = [each.text for each in fragments], [each.weight for each in fragments]
    row: dict[str, Any] = {"text": text}
    for suffix, each in zip(("", "_2"), providers, strict=True):
        ids, spread, _ = each.get_token_ids_and_expand_weights(words, weights, device="cpu")
        row[f"ids{suffix}"] = ids.reshape(-1, 77).tolist()
        if not suffix:
            row["weights"] = [
                [round(float(weight), 6) for weight in line]
                for line in spread.reshape(-1, 77).tolist()
            ]
    return row


def lines(rows: list[Any]) -> str:
    """One row a line."""
    return ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)


def main() -> None:
    """Write the golden file."""
    names = ("tokenizer", "tokenizer_2")
    first, second = (
        Loader(CLIPTokenizer.from_pretrained(MODEL / name, local_files_only=True)) for name in names
    )
    rows = []
    for text in texts():
        row: dict[str, Any] = {"text": text, "ids": first.ids(text)}
        if (other := second.ids(text)) != row["ids"]:
            row["ids_2"] = other
        rows.append(row)
    providers = [
        EmbeddingsProvider(
            each.tokenizer,
            SimpleNamespace(device=torch.device("cpu")),
            truncate=False,
            split_long_text_mode=SplitLongTextMode.SENTENCES,
            textual_inversion_manager=DiffusersTextualInversionManager(each),
        )
        for each in (first, second)
    ]
    packages = ("transformers", "diffusers", "compel")
    head = {"versions": {name: version(name) for name in packages}, "vectors": VECTORS}
    lists = {"rows": rows, "compel": [compel_row(text, providers) for text in COMPEL]}
    body = ",".join(
        f'"{name}": [\n'
        + ",\n".join(json.dumps(row, separators=(",", ":")) for row in each)
        + "\n]"
        for name, each in lists.items()
    )
    TARGET.write_text(f"{json.dumps(head)[:-1]}, {body}}}\n", encoding="utf-8")
    print(f"{TARGET}: {len(rows)} texts")


if __name__ == "__main__":
    main()

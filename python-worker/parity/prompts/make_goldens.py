"""Write `test/prompt/golden/`: how AUTOMATIC1111's web UI and compel read prompts.

The tokenizers are the demo model's, whose vocabulary is SDXL's. Run from `python-worker/`, in an
environment with transformers, torch, compel 2.5.1 and lark, with a checkout of
https://github.com/AUTOMATIC1111/stable-diffusion-webui at 28bd8e142d5f77b71ae8d7d7140b5da1b3a49906
of which only `modules/prompt_parser.py` and `modules/sd_hijack_clip.py` are read:

    .venv-torch/bin/python -m parity.prompts.make_goldens CHECKOUT
"""

import importlib
import json
import math
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from compel import Compel
from compel.embeddings_provider import EmbeddingsProvider, SplitLongTextMode
from compel.prompt_parser import PromptParser
from transformers import CLIPTokenizer

from parity.prompts import texts

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "test" / "prompt" / "golden"
MODEL = ROOT / "models" / "demo"
WEBUI = "AUTOMATIC1111/stable-diffusion-webui@28bd8e1"

Golden = dict[str, object]


def tokenizers() -> list[CLIPTokenizer]:
    """Both of SDXL, in the order of the text encoders."""
    return [
        CLIPTokenizer.from_pretrained(MODEL / name, local_files_only=True)
        for name in ("tokenizer", "tokenizer_2")
    ]


def web_ui(checkout: Path) -> tuple[ModuleType, ModuleType]:
    """`modules.prompt_parser` and `modules.sd_hijack_clip`; their imports that need the rest of
    the web UI are empty modules with the settings that it starts with."""
    sys.path.insert(0, str(checkout))
    for name in ("devices", "sd_hijack", "sd_emphasis", "shared"):
        sys.modules[f"modules.{name}"] = ModuleType(name)
    options = SimpleNamespace(emphasis="Original", comma_padding_backtrack=20)
    sys.modules["modules.shared"].opts = options  # type: ignore[attr-defined]
    sys.modules["modules.sd_hijack"].StableDiffusionModelHijack = object  # type: ignore[attr-defined]
    parser = importlib.import_module("modules.prompt_parser")
    return parser, importlib.import_module("modules.sd_hijack_clip")


def web_ui_lines(module: ModuleType, tokenizer: CLIPTokenizer, pad: int) -> Callable[[str], Golden]:
    """The web UI's chunks of a text: `ids` and `weights`, 77 for each chunk.

    Its second tokenizer is open_clip's, which has the first one's vocabulary and merges and pads
    with 0. Unlike diffusers' second tokenizer it takes "!" for an ordinary word.
    """

    class Embedder(module.FrozenCLIPEmbedderWithCustomWordsBase):  # type: ignore[name-defined, misc]
        def tokenize(self, lines: list[str]) -> list[list[int]]:
            return tokenizer(lines, truncation=False, add_special_tokens=False)["input_ids"]

    none = SimpleNamespace(find_embedding_at_position=lambda _tokens, _position: (None, None))
    embedder = Embedder(None, SimpleNamespace(embedding_db=none))
    embedder.comma_token = tokenizer.get_vocab()[",</w>"]
    embedder.id_start, embedder.id_end = tokenizer.bos_token_id, tokenizer.eos_token_id

    def padded(tokens: list[int]) -> list[int]:
        """As its `process_tokens` does for an encoder that pads with another id than the end's."""
        end = tokens.index(tokenizer.eos_token_id)
        return tokens[: end + 1] + [pad] * (len(tokens) - end - 1)

    def read(text: str) -> Golden:
        chunks, _ = embedder.tokenize_line(text)
        return {
            "ids": [padded(chunk.tokens) for chunk in chunks],
            "weights": [runs(chunk.multipliers) for chunk in chunks],
        }

    return read


def runs(weights: list[float]) -> list[list[float]]:
    """[weight, how many in a row], with the weights rounded to what float32 tells apart."""
    return [[round(weight, 6), len(list(run))] for weight, run in groupby(weights)]


def parsed(parser: ModuleType, text: str) -> Golden:
    """`fragments` as [text, weight]; null where the web UI fails on a weight that is no number."""
    try:
        found = parser.parse_prompt_attention(text)
    except ValueError:
        return {"text": text, "fragments": None}
    return {"text": text, "fragments": found}


def changes(parser: ModuleType, text: str) -> bool:
    """Whether the web UI finds prompt editing or alternation. It reads none in what its grammar
    does not accept."""
    try:
        tree = parser.schedule_parser.parse(text)
    except parser.lark.exceptions.LarkError:
        return False
    return any(node.data in ("scheduled", "alternate") for node in tree.iter_subtrees())


def chunk_row(text: str, first: Golden, second: Golden, **more: object) -> Golden:
    """One text's chunks; what the second encoder has the same is left out."""
    other = {f"{name}_2": value for name, value in second.items() if value != first[name]}
    return {"text": text, **first, **other, **more}


def a1111_goldens(checkout: Path) -> None:
    parser, clip = web_ui(checkout)
    tokenizer, other = tokenizers()
    first, second = (
        web_ui_lines(clip, tokenizer, pad) for pad in (tokenizer.pad_token_id, other.pad_token_id)
    )
    parses = [parsed(parser, text) for text in [*texts.A1111, *texts.a1111_mixed()]]
    write("a1111-parse.json", {"reference": WEBUI}, parses)
    cases = [*texts.SCHEDULED, *texts.STEADY]
    schedules: list[Golden] = [{"text": each, "changes": changes(parser, each)} for each in cases]
    write("a1111-schedules.json", {"reference": WEBUI}, schedules)
    lines = [*texts.A1111[:12], *texts.long_texts(), *texts.weighted_long(a1111=True)]
    lines += ["a BREAK b", "a, b BREAK " + "c " * 80, "BREAK", "BREAK BREAK a"]
    write(
        "a1111-chunks.json",
        {"reference": WEBUI, "transformers": version("transformers")},
        [chunk_row(text, first(text), second(text)) for text in lines],
    )


def compel_goldens() -> None:
    def flat(text: str) -> list[list[object]] | None:
        """[text, weight] of each fragment; null for what compel cannot read."""
        try:
            conjunction = Compel.parse_prompt_string(text)
        except Exception:  # noqa: BLE001 - pyparsing's and its own
            return None
        fragments = [each for prompt in conjunction.prompts for each in prompt.children]
        return [[each.text, each.weight] for each in fragments]

    def kind(text: str) -> str:
        """The operator that compel finds: what its parser makes of the text."""
        conjunction = PromptParser().parse_conjunction(text)
        if conjunction.lora_weights:
            return "lora"
        if len(conjunction.prompts) > 1:
            return "and"
        (prompt,) = conjunction.prompts
        names = [type(each).__name__ for each in (prompt, *getattr(prompt, "children", []))]
        if "Blend" in names:
            return "blend"
        return "swap" if "CrossAttentionControlSubstitute" in names else "none"

    def provider(tokenizer: CLIPTokenizer) -> EmbeddingsProvider:
        """CompelForSDXL's settings; only what it does before the text encoder is used."""
        encoder = SimpleNamespace(device=torch.device("cpu"))
        return EmbeddingsProvider(
            tokenizer, encoder, truncate=False, split_long_text_mode=SplitLongTextMode.SENTENCES
        )

    providers = [provider(each) for each in tokenizers()]

    def chunks(each: EmbeddingsProvider, fragments: list[list[object]]) -> Golden:
        words = [str(fragment) for fragment, _ in fragments]
        weights = [float(str(weight)) for _, weight in fragments]
        ids, spread, _ = each.get_token_ids_and_expand_weights(words, weights, device="cpu")
        ranges = each._get_token_ranges_for_fragments(ids.tolist(), words)
        masked = [
            [start, end + 1]
            for (start, end), weight in zip(ranges, weights, strict=True)
            if weight < 1 and start is not None
        ]
        size = each.max_token_count
        rows = ids.reshape(-1, size).tolist()
        return {
            "ids": rows,
            "weights": [runs(row) for row in spread.reshape(-1, size).tolist()],
            "masked": masked,
        }

    versions: Golden = {"compel": version("compel"), "pyparsing": version("pyparsing")}
    everything = [*texts.COMPEL, *texts.compel_mixed()]
    parses: list[Golden] = [{"text": text, "fragments": flat(text)} for text in everything]
    write("compel-parse.json", versions, parses)
    operators: list[Golden] = [{"text": text, "operator": kind(text)} for text in texts.OPERATORS]
    write("compel-operators.json", versions, operators)
    lines = [*texts.COMPEL, *texts.long_texts(), *texts.weighted_long(a1111=False)]
    rows = []
    for text in lines:
        fragments = flat(text)
        if not fragments:
            continue
        first, second = (chunks(each, fragments) for each in providers)
        (pooled,) = providers[1].get_token_ids(
            [text], padding="max_length", truncation_override=True
        )
        rows.append(chunk_row(text, first, second, pooled=pooled))
    write("compel-chunks.json", versions | {"transformers": version("transformers")}, rows)


def finite(value: object) -> object:
    """JSON has no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return [finite(each) for each in value] if isinstance(value, list) else value


def write(name: str, golden: Golden, rows: list[Golden]) -> None:
    """One row a line, so that a change shows as what it is."""
    head = json.dumps(golden, ensure_ascii=True)[:-1]
    lines = [{key: finite(value) for key, value in row.items()} for row in rows]
    body = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in lines)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / name).write_text(f'{head}, "rows": [\n{body}\n]}}\n', encoding="utf-8")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    a1111_goldens(Path(sys.argv[1]))
    compel_goldens()


if __name__ == "__main__":
    main()

"""Stage 2: both text encoders, trained to classify what a caption states, then frozen.

Training uses a compact vocabulary: the tokens of our captions, and one "unknown" row for every
other token. The export moves the rows to their real CLIP ids (see export.py), so that they work
with the real tokenizers.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from demo.scenes.captions import Caption, caption
from demo.scenes.sampling import training_scene
from demo.scenes.scene import COLOURS, SHAPES
from demo.training import run
from demo.training.vocabulary import MAX_LENGTH

CHECKPOINT = "text.pt"
WIDTHS = (32, 64)
PROJECTION = 64
_LEARNING_RATE = 2e-3
_BATCH = 96
_TRAIN_LENGTH = 40  # causal: tokens after the end of the text cannot change earlier ones
_UNKNOWN_RATE = 0.15

# What the encoders learn to classify; class 0 is "not stated". Objects are in the picture's order
# (left to right, top to bottom) if the caption states one, else in the caption's order. So the
# encoders resolve "to the right of", and the UNet need not.
_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "background": COLOURS,
    "shape 1": SHAPES,
    "colour 1": COLOURS,
    "shape 2": SHAPES,
    "colour 2": COLOURS,
    "axis": ("horizontal", "vertical"),
    "size": ("small", "large"),
    "x": ("left", "center", "right"),
    "y": ("top", "center", "bottom"),
}


class Vocabulary:
    """Maps CLIP ids of our captions to compact ids; 0 is unknown, the last is the end of text."""

    def __init__(self, clip_ids: Sequence[int]) -> None:
        self.clip_ids = list(clip_ids)  # ascending, so that the end of text stays the highest id
        self._table = torch.zeros(49408, dtype=torch.long)
        self._table[self.clip_ids] = torch.arange(1, len(self.clip_ids) + 1)

    @property
    def size(self) -> int:
        return len(self.clip_ids) + 1

    def compact(self, ids: torch.Tensor) -> torch.Tensor:
        """Compact ids for CLIP ids of any shape."""
        return self._table[ids]


def load_tokenizer(model_folder: Path) -> CLIPTokenizer:
    """Load the demo model's first tokenizer; the second differs only in its padding."""
    return CLIPTokenizer.from_pretrained(model_folder / "tokenizer")


def collect_vocabulary(tokenizer: CLIPTokenizer) -> Vocabulary:
    """Collect the tokens of 30,000 captions and "!", the second tokenizer's padding."""
    rng = np.random.default_rng(7)
    texts = [caption(training_scene(rng, 0.5), rng).text for _ in range(30_000)]
    used = {token for ids in tokenizer(texts).input_ids for token in ids}
    return Vocabulary(sorted(used | {0}))


def config(width: int, vocabulary_size: int, activation: str) -> CLIPTextConfig:
    """Return a CLIP text encoder's config; `eos_token_id` 2 means "pool at the highest id"."""
    return CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=PROJECTION,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=MAX_LENGTH,
        hidden_act=activation,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )


class TextEncoders(nn.Module):
    """SDXL's two text encoders over the compact vocabulary."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.first = CLIPTextModel(config(WIDTHS[0], vocabulary_size, "quick_gelu"))
        self.second = CLIPTextModelWithProjection(config(WIDTHS[1], vocabulary_size, "gelu"))

    def forward(
        self, first_ids: torch.Tensor, second_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the UNet's inputs: token states [n, length, 96] and pooled [n, 64]."""
        first = self.first(first_ids, output_hidden_states=True)
        second = self.second(second_ids, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        return states, second.text_embeds


@dataclass
class TextStage:
    """Frozen encoders with their tokenizer, which turn captions into conditioning."""

    tokenizer: CLIPTokenizer
    vocabulary: Vocabulary
    encoders: TextEncoders

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode captions to token states [n, 77, 96] and pooled [n, 64]."""
        first, second = token_ids(self.tokenizer, self.vocabulary, texts, MAX_LENGTH)
        states, pooled = self.encoders(first, second)
        return states, pooled


def token_ids(
    tokenizer: CLIPTokenizer, vocabulary: Vocabulary, texts: Sequence[str], length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return compact ids for both encoders, padded with the end of text and with "!" (id 0)."""
    batch = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True)
    ids, mask = torch.tensor(batch.input_ids), torch.tensor(batch.attention_mask)
    return vocabulary.compact(ids), vocabulary.compact(ids * mask)


def train(minutes: float, model_folder: Path) -> TextStage:
    """Train for `minutes` of work, resuming a checkpoint if one exists."""
    torch.manual_seed(2)
    tokenizer = load_tokenizer(model_folder)
    saved = run.load(CHECKPOINT)
    vocabulary = Vocabulary(saved["clip_ids"]) if saved else collect_vocabulary(tokenizer)
    encoders = TextEncoders(vocabulary.size)
    heads = _Heads()
    parameters = [*encoders.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=1e-3)
    clock = run.Clock("text", minutes)
    if saved:
        encoders.load_state_dict(saved["model"])
        heads.load_state_dict(saved["heads"])
        optimizer.load_state_dict(saved["optimizer"])
        clock.restore(saved["clock"])
    factor = run.flat_then_linear(0.5, 0.02)
    rng = np.random.default_rng(2000 + clock.step)
    while clock.progress < 1.0:
        rate = _LEARNING_RATE * factor(clock.progress) * min(1.0, (clock.step + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = rate
        captions = [caption(training_scene(rng, 0.6), rng) for _ in range(_BATCH)]
        first, second = token_ids(tokenizer, vocabulary, [c.text for c in captions], _TRAIN_LENGTH)
        first, second = _with_unknown(first, second, rng)
        loss, accuracy = heads(*_at_end(encoders, first, second), labels(captions))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        clock.tick()
        clock.tell(loss=float(loss.detach()), all_right=accuracy)
        if clock.checkpoint_due():
            state = {"model": encoders.state_dict(), "heads": heads.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "clip_ids": vocabulary.clip_ids}
            run.save(CHECKPOINT, {**state, "clock": clock.state()})
    return TextStage(tokenizer, vocabulary, encoders.eval().requires_grad_(False))


def load_trained(model_folder: Path) -> TextStage:
    """Load the encoders of the latest checkpoint, frozen."""
    saved = run.load(CHECKPOINT)
    if saved is None:
        raise FileNotFoundError("no text encoders yet: run `python -m demo.training.text` first")
    vocabulary = Vocabulary(saved["clip_ids"])
    encoders = TextEncoders(vocabulary.size)
    encoders.load_state_dict(saved["model"])
    return TextStage(
        load_tokenizer(model_folder), vocabulary, encoders.eval().requires_grad_(False)
    )


def labels(captions: Sequence[Caption]) -> torch.Tensor:
    """Return the class of each attribute of each caption, [n, attributes]; 0 is "not stated"."""
    rows = []
    for said in captions:
        order = said.mentioned
        if said.relation:
            order = (0, 1) if said.relation in ("left", "above") else (1, 0)
        objects = [said.scene.objects[i] for i in order]
        values: dict[str, str | None] = {
            "background": said.background,
            "size": said.size,
            "x": said.position[0],
            "y": said.position[1],
            "axis": said.relation
            and ("horizontal" if said.relation in ("left", "right") else "vertical"),
        }
        for number, item in enumerate(objects, 1):
            values |= {f"shape {number}": item.shape, f"colour {number}": item.colour}
        rows.append(
            [
                1 + names.index(value) if (value := values.get(name)) else 0
                for name, names in _ATTRIBUTES.items()
            ]
        )
    return torch.tensor(rows)


class _Heads(nn.Module):
    """Linear classifiers of the attributes, on each encoder's last state and on pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [1 + len(names) for names in _ATTRIBUTES.values()]
        self.readers = nn.ModuleList(nn.Linear(n, sum(self.sizes)) for n in (*WIDTHS, PROJECTION))

    def forward(self, *inputs: torch.Tensor | list[torch.Tensor]) -> tuple[torch.Tensor, float]:
        *features, target = inputs
        loss = torch.zeros(())
        right = torch.ones(len(target), dtype=torch.bool)
        for reader, feature in zip(self.readers, features, strict=True):
            for column, logits in enumerate(reader(feature).split(self.sizes, -1)):
                loss = loss + functional.cross_entropy(logits, target[:, column])
                right &= logits.argmax(-1) == target[:, column]
        return loss / len(features), float(right.float().mean())


def _at_end(
    encoders: TextEncoders, first_ids: torch.Tensor, second_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    states, pooled = encoders(first_ids, second_ids)
    at_end = states[torch.arange(len(states)), first_ids.argmax(-1)]
    first, second = at_end.split(WIDTHS, -1)
    # keep pooled small: the UNet adds its projection to the time embedding
    return first, second, pooled


def _with_unknown(
    first: torch.Tensor, second: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Insert an unknown word into some captions, so that unknown words change little."""
    first, second = first.clone(), second.clone()
    for row in range(len(first)):
        if rng.random() < _UNKNOWN_RATE:
            end = int(first[row].argmax())
            if end < first.shape[1] - 1:
                at = int(rng.integers(1, end + 1))
                for ids in (first, second):
                    ids[row, at + 1 :] = ids[row, at:-1].clone()
                    ids[row, at] = 0
    return first, second


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--model", type=Path, default=Path("../models/demo"))
    arguments = parser.parse_args()
    train(arguments.minutes, arguments.model)

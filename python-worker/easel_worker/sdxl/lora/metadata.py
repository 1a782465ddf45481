"""What a LoRA's metadata says of it to people: trigger words and the base model.

Trainers write free text, so everything here is optional, shortened and without control characters.
https://github.com/kohya-ss/sd-scripts/blob/v0.9.1/library/train_util.py#L3317
https://github.com/Stability-AI/ModelSpec
"""

import json
from collections.abc import Iterator, Mapping

MAX_WORDS = 8
MAX_CHARACTERS = 64
"""The longest trigger word and the longest name of a base model."""

_TRIGGERS = ("modelspec.trigger_phrase", "ss_trigger_words")
_TITLES = ("modelspec.title", "ss_output_name")
_BASE_MODELS = ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture")


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Words that a prompt should contain: those that the file names, or its most frequent tags."""
    named = [text for key in _TRIGGERS for text in metadata.get(key, "").split(",")]
    words = [word for text in named if (word := _clean(text))]
    if not words:
        tags = sorted(_tags(metadata), key=lambda tag: -tag[1])
        words = [word for text, _ in tags if (word := _clean(text))]
    return tuple(dict.fromkeys(words))[:MAX_WORDS]


def base_model(metadata: Mapping[str, str]) -> str | None:
    """The name of the model that it was trained on."""
    return next((name for key in _BASE_MODELS if (name := _clean(metadata.get(key, "")))), None)


def titles(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What its trainer called it."""
    return tuple(name for key in _TITLES if (name := _clean(metadata.get(key, ""))))


def _tags(metadata: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """The captions' tags with how often each occurs, from all folders of training images."""
    try:
        folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
    except (ValueError, RecursionError):
        return
    totals: dict[str, float] = {}
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int):
                totals[tag] = totals.get(tag, 0) + count
    yield from totals.items()


def _clean(text: str) -> str:
    """The text on one line, at most `MAX_CHARACTERS` long."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(printable.split())[:MAX_CHARACTERS].strip()

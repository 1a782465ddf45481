"""Which preset fits a model by what it is called.

Distillation changes a model's weights and not its structure, so the publisher's name is all that
tells it. The rules take names of files as the publishers of `presets` write them, and of merges
that state the number of steps in the same way.
"""

import re
from typing import NamedTuple

_STEPS = re.compile(r"(?<!\d)(\d{1,2})[-_ ]?steps?(?![a-z])")

_OF_STEPS = {
    "lightning": re.compile(r"lightning"),
    "hyper": re.compile(r"(?<![a-z])hyper(?:[-_ ]?sd(?:[-_ ]?xl)?)?(?![a-z])"),
}
"""Distillations for one number of steps, which the name must state."""

_WHOLE = {
    "turbo": re.compile(r"(?:.*/)?sd[-_ ]?xl[-_ ]?turbo(?![a-z]).*"),
    "lcm": re.compile(r".*(?<![a-z])lcm(?![a-z]).*"),
    "tcd": re.compile(r".*(?<![a-z])tcd(?![a-z]).*"),
    "dmd2": re.compile(r".*(?<![a-z])dmd2(?![a-z\d]).*"),
}
"""Distillations whose preset needs no more than their name. Others than Stability's own Turbo have
other samplers, so its name must begin the text."""

_OF_LORAS = {"hyper-1": "hyper-unified"}
"""Presets of LoRAs that have another one than the UNet of that name.

https://huggingface.co/ByteDance/Hyper-SD#1-step-unified-lora
"""

_KEEPS_GUIDANCE = re.compile(r"(?<![a-z])cfg(?![a-z])")
"""Hyper-SD's models that are sampled with guidance, unlike those of the presets."""

_FEW_STEPS = re.compile(
    r"lightning|(?<![a-z])(?:turbo|hyper|lcm|tcd|dmd2?)(?![a-z])|hyper[-_ ]?sd|\d[-_ ]?steps?"
)


class Label(NamedTuple):
    """A text that says what a model is, and where it stands, such as `file name`."""

    text: str
    source: str


def preset_in(text: str) -> str | None:
    """The name of the preset that a text names, or None if it names none or several.

    The table may lack it: a text may name a Lightning model of 1 step.
    """
    lower = text.lower()
    found = [name for name, pattern in _WHOLE.items() if pattern.fullmatch(lower)]
    families = [name for name, pattern in _OF_STEPS.items() if pattern.search(lower)]
    if len(found) + len(families) != 1:
        return None
    if found:
        return found[0]
    steps = {int(number) for number in _STEPS.findall(lower)}
    if len(steps) != 1 or _KEEPS_GUIDANCE.search(lower):
        return None
    return f"{families[0]}-{steps.pop()}"


def preset_of_lora(name: str, *titles: str) -> str | None:
    """The preset of the few-step model that a LoRA makes, by what it is called; None for others.

    Args:
        name: its path in the folder of LoRAs; the last part that names a preset counts.
        titles: other names of it.
    """
    texts = (*reversed(name.split("/")), *titles)
    found = next((preset for text in texts if (preset := preset_in(text))), None)
    return _OF_LORAS.get(found, found) if found else None


def says_few_steps(text: str) -> bool:
    """Whether a text has a word of few-step models."""
    return _FEW_STEPS.search(text.lower()) is not None

"""Runs a generator over captions, and makes the table and the contact sheet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.evaluation.measure import measure
from demo.evaluation.score import ATTRIBUTES, Score, score
from demo.scenes.captions import Caption

Image = NDArray[np.uint8]
Generate = Callable[[list[str], list[int]], list[Image]]

# What the embedded model must reach, in percent.
TARGETS = {"background": 95, "colour": 95, "shape": 90, "relation": 85}
_COLUMNS = 20
_FRAME = 4
_RIGHT, _WRONG = (200, 200, 200), (255, 0, 160)


@dataclass(frozen=True)
class Report:
    """Scores and pictures, in the order of the captions."""

    scores: Sequence[Score]
    images: Sequence[Image]

    def counts(self, attribute: str, objects: int | None = None) -> tuple[int, int]:
        """Return (right, judged) for an attribute; `objects` restricts it to such pictures."""
        verdicts = [
            verdict
            for item in self.scores
            if objects in (None, len(item.caption.scene.objects))
            for verdict in item.verdicts.get(attribute, ())
        ]
        return sum(verdicts), len(verdicts)

    def meets_targets(self) -> bool:
        """Return whether every target is reached."""
        return all(
            100 * right >= TARGETS[name] * judged
            for name in TARGETS
            for right, judged in [self.counts(name)]
        )

    def table(self) -> str:
        """Return a Markdown table: each attribute for all, one and two objects, and its target."""
        lines = [
            "| | all | one object | two objects | target |",
            "|---|---|---|---|---|",
        ]
        for name in ATTRIBUTES:
            cells = [_share(*self.counts(name, objects)) for objects in (None, 1, 2)]
            target = f"≥ {TARGETS[name]} %" if name in TARGETS else ""
            lines.append(f"| {name} | {' | '.join(cells)} | {target} |")
        cells = []
        for objects in (None, 1, 2):
            judged = [s for s in self.scores if objects in (None, len(s.caption.scene.objects))]
            cells.append(_share(sum(s.right for s in judged), len(judged)))
        lines.append(f"| everything | {' | '.join(cells)} | |")
        return "\n".join(lines)

    def mistakes(self) -> str:
        """Return a line for each wrong picture: its place on the sheet, what is wrong, caption."""
        return "\n".join(
            f"{1 + index // _COLUMNS}.{1 + index % _COLUMNS:02d} "
            f"{', '.join(item.wrong)}: {item.caption.text}"
            for index, item in enumerate(self.scores)
            if not item.right
        )

    def contact_sheet(self) -> Image:
        """Return all pictures in rows of twenty, wrong ones framed in pink; RGB [h, w, 3]."""
        height, width = self.images[0].shape[:2]
        rows = -(-len(self.images) // _COLUMNS)
        tall, wide = height + 2 * _FRAME, width + 2 * _FRAME
        sheet = np.full((rows * tall, _COLUMNS * wide, 3), 255, np.uint8)
        for index, (item, image) in enumerate(zip(self.scores, self.images, strict=True)):
            y, x = index // _COLUMNS * tall, index % _COLUMNS * wide
            sheet[y + 1 : y + tall - 1, x + 1 : x + wide - 1] = _RIGHT if item.right else _WRONG
            sheet[y + _FRAME : y + _FRAME + height, x + _FRAME : x + _FRAME + width] = image
        return sheet


def evaluate(generate: Generate, captions: Sequence[Caption]) -> Report:
    """Generate a picture for each caption, the n-th with seed n, and score them all."""
    images = generate([said.text for said in captions], list(range(len(captions))))
    if len(images) != len(captions):
        raise ValueError(f"asked for {len(captions)} pictures, got {len(images)}")
    scores = [score(said, measure(image)) for said, image in zip(captions, images, strict=True)]
    return Report(scores, images)


def _share(right: int, judged: int) -> str:
    return f"{100 * right / judged:.1f} % ({right}/{judged})" if judged else "–"

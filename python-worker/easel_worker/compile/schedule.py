"""Cycles of one operation, from the compiler's final schedule of it.

libtpu writes each fusion's and kernel's bundles; it issues one per cycle. A loop over a grid is
pipelined: beside the turns that compute, some only fill the pipeline, and branch over the body.
So cycles = Σ bundles · turns, where the body counts only the turns that compute. They leave out
waiting for memory. A body that runs only on some turns (`pl.when`) counts as if it ran on all.
"""

import re
from collections import Counter
from dataclasses import dataclass

_BUNDLE = re.compile(r"^\s*(?:0x[0-9a-f]+|0)\s+([A-Z]{2})?\s*:\s*(?:> ?)*\{")
_EXIT_TEST = re.compile(r"(%p\w+) = scmp\.ge\.s32\.totalorder %\w+, (\d+) /\* loop exit test")
_BRANCH = re.compile(r"sbr\.rel (?:\((!?)(%p\w+)\) )?target = \$region(\d+)")
_REGION = re.compile(r"Start(?:/End empty)? region (\d+)\b")
_STAGE = re.compile(r"iteration index, stage = (\d+)")
_GUARD = re.compile(r"(%p\w+) = pnand (%p\w+), (%p\w+)")
_BOUND = re.compile(r"(%p\w+) = scmp\.(ge|lt)\.s32\.totalorder %\w+, (\d+)\b")
_RESULT = re.compile(r"vpop\.([a-z0-9]+)\.mrf\.(mxu\d)")

_DELAY_SLOTS = 4
"""Bundles after a branch that run whether it is taken or not."""
_CYCLES_PER_RESULT = 8
_CYCLES_PER_INTEGER_RESULT = 4
"""A pop takes the 8 rows of a register. A matrix unit gives one row a cycle, and two of 8-bit
products: 128 · 128 products in four units at 1.5 GHz are the 197 TFLOP/s that Google publishes for
v5e, and it publishes twice as many for int8."""


@dataclass(frozen=True)
class Schedule:
    """One operation's schedule.

    Attributes:
        bundles: how many there are.
        issue: cycles to issue them, with every turn of the loops.
        matrix: cycles that its busiest matrix unit gives results in.
        unknown_loops: loops whose number of turns is not a constant; they count once.
    """

    bundles: int
    issue: int
    matrix: int
    unknown_loops: int


@dataclass
class _Bundle:
    label: str
    text: str
    turns: int = 1
    in_loop: bool = False


def read_schedule(text: str) -> Schedule:
    """Read one file `*-final_bundles.txt`."""
    bundles = _bundles(text)
    unknown = _count_turns(bundles)
    results: Counter[str] = Counter()
    for each in bundles:
        for dtype, unit in _RESULT.findall(each.text):
            cycles = _CYCLES_PER_INTEGER_RESULT if dtype == "s32" else _CYCLES_PER_RESULT
            results[unit] += cycles * each.turns
    return Schedule(
        bundles=len(bundles),
        issue=sum(each.turns for each in bundles),
        matrix=max(results.values(), default=0),
        unknown_loops=unknown,
    )


def _bundles(text: str) -> list[_Bundle]:
    """A bundle's annotations may continue on further lines."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if bundle := _BUNDLE.match(line):
            found.append((bundle[1] or "", [line]))
        elif found:
            found[-1][1].append(line)
    return [_Bundle(label, "\n".join(lines)) for label, lines in found]


def _count_turns(bundles: list[_Bundle]) -> int:
    """Multiply each bundle's turns by those of its loops; return how many loops are unknown."""
    begun: dict[str, int] = {}
    limits: dict[str, int] = {}
    unknown = sum(each.label == "LB" for each in bundles)
    for place, each in enumerate(bundles):
        if each.label == "LB":
            begun |= dict.fromkeys(_REGION.findall(each.text), place)
        limits |= {found[1]: int(found[2]) for found in _EXIT_TEST.finditer(each.text)}
        for negated, predicate, region in _BRANCH.findall(each.text):
            if negated and predicate in limits and region in begun:
                end = min(place + _DELAY_SLOTS, len(bundles) - 1)
                _repeat(bundles[begun[region] : end + 1], limits[predicate])
                unknown -= 1
    return unknown


def _repeat(loop: list[_Bundle], turns: int) -> None:
    """Count a loop's bundles once for each turn, and its body once for each turn that computes."""
    own = [each for each in loop if not each.in_loop]
    filling = max((int(stage) for each in own for stage in _STAGE.findall(each.text)), default=0)
    body, predicate = _longest_branch(loop)
    computing = _guarded_turns(own, predicate)
    if computing is None:
        computing = turns - filling if 0 < filling < turns else turns
    for place, each in enumerate(loop):
        each.turns *= computing if place in body else turns
        each.in_loop = True


def _longest_branch(loop: list[_Bundle]) -> tuple[range, str]:
    """What the longest forward branch jumps over, and its predicate.

    It is the body, when a turn only fills the pipeline.
    """
    own = [(place, each) for place, each in enumerate(loop) if not each.in_loop]
    targets = {
        region: place
        for place, each in own
        if each.label == "PF"
        for region in _REGION.findall(each.text)
    }
    skipped = [
        (range(place + 1 + _DELAY_SLOTS, targets[region]), predicate)
        for place, each in own
        for _, predicate, region in _BRANCH.findall(each.text)
        if targets.get(region, 0) > place
    ]
    return max(skipped, key=lambda one: len(one[0]), default=(range(0), ""))


def _guarded_turns(own: list[_Bundle], predicate: str) -> int | None:
    """The turns that compute, where the branch over the body says so.

    It is taken unless first ≤ turn < end. The stages alone do not say it: a kernel whose result
    stays in vector memory has an empty last turn without a stage.
    """
    text = "\n".join(each.text for each in own)
    bounds = {name: (kind, int(limit)) for name, kind, limit in _BOUND.findall(text)}
    for name, *terms in _GUARD.findall(text):
        limits: dict[str, int] = dict(bounds[term] for term in terms if term in bounds)
        if name == predicate and limits.keys() == {"ge", "lt"}:
            return limits["lt"] - limits["ge"]
    return None

"""Writes `src/tokenizer/unicode-data.ts`: the reference's Unicode properties.

CLIP's tokenizer normalises, lowercases and splits by Unicode properties. The reference does so
with three libraries of three Unicode versions, Node with the ICU that it was built with. So the
gateway contains the reference's results for every code point, computed here. Run from
`python-worker/` after changing the reference's release, then run `make_goldens.py`:

    .venv-torch/bin/python -m parity.tokenizer.make_tables
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

OUTPUT = Path(__file__).parents[3] / "src" / "tokenizer" / "unicode-data.ts"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CLASS_1, CLASS_220 = "\u0334", "\u0316"  # marks of known combining class, to test others against

Run = tuple[int, ...]


def matching(pattern: str) -> set[int]:
    """Return the code points that the reference's regular expressions match with `pattern`."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return {c for c in CODE_POINTS if split.pre_tokenize_str(chr(c))}


def changed_by(normalize: Callable[[str], str]) -> dict[int, str]:
    """Return the result of `normalize` for each code point that it changes."""
    return {c: out for c in CODE_POINTS if (out := normalize(chr(c))) != chr(c)}


def composition(decompose: Callable[[str], str]) -> tuple[set[int], dict[int, int]]:
    """Return the code points that NFC involves, and those that may combine with the one before.

    The first set has the code points that decompose, compose or are reordered. The second maps
    those that are reordered or compose with the preceding one to their combining class (0 if they
    only compose). NFC never changes a code point outside the first set, nor moves another past it.
    """
    decomposed = changed_by(decompose)
    reordered = {
        c
        for c in CODE_POINTS
        if decompose(CLASS_220 + chr(c))[0] != CLASS_220
        or decompose(chr(c) + CLASS_1)[0] == CLASS_1
    } | {ord(CLASS_1), ord(CLASS_220)}
    firsts = {ord(text[0]) for text in decomposed.values()}
    seconds = {ord(part) for text in decomposed.values() for part in text[1:]}
    trailing = reordered | seconds
    return trailing | firsts | set(decomposed), {c: unicodedata.combining(chr(c)) for c in trailing}


def runs(points: Iterable[int]) -> Iterator[Run]:
    """Encode sorted code points as (gap since the last run, length)."""
    return labelled_runs(dict.fromkeys(points, 0), keep_label=False)


def labelled_runs(labels: dict[int, int], keep_label: bool = True) -> Iterator[Run]:
    """Encode sorted code points as (gap since the last run, length, shared label)."""
    start, length, last_end = -1, 0, 0
    for point in [*sorted(labels), -1]:
        if length and point == start + length and labels[point] == labels[start]:
            length += 1
            continue
        if length:
            yield (start - last_end, length, *([labels[start]] if keep_label else []))
            last_end = start + length
        start, length = point, 1


def lowercase_runs(lower: dict[int, str]) -> Iterator[Run]:
    """Encode one-to-one mappings as (first, count, step between sources, target minus source)."""
    single = {c: ord(text) - c for c, text in lower.items() if len(text) == 1}
    while single:
        first = min(single)
        delta = single[first]
        step = 2 if single.get(first + 1) != delta and single.get(first + 2) == delta else 1
        count = 1
        while single.get(first + count * step) == delta:
            count += 1
        for index in range(count):
            del single[first + index * step]
        yield (first, count, step, delta)


def base36(number: int) -> str:
    """Format a number for JavaScript's parseInt(text, 36)."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    sign, number, text = ("-" if number < 0 else ""), abs(number), ""
    while number or not text:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return sign + text


def constant(name: str, meaning: str, table: Iterable[Run]) -> str:
    """Return a TypeScript constant: the runs' numbers in base 36, separated by blanks, wrapped."""
    lines = [""]
    for number in (base36(number) for run in table for number in run):
        if len(lines[-1]) + len(number) > 100:
            lines.append("")
        lines[-1] += f"{number} "
    lines[-1] = lines[-1].rstrip()
    body = " +\n".join(f"  '{line}'" for line in lines)
    return f"\n/** {meaning} */\nexport const {name} =\n{body}\n"


def main() -> None:
    """Query the reference and write the file."""
    lower = changed_by(normalizers.Lowercase().normalize_str)
    composing, trailing = composition(normalizers.NFD().normalize_str)
    expansions = {c: text for c, text in lower.items() if len(text) > 1}
    quoted = ", ".join(
        f"[{c:#x}, '{''.join(f'{chr(92)}u{ord(x):04x}' for x in text)}']"
        for c, text in expansions.items()
    )
    OUTPUT.write_text(
        "// Generated by python-worker/parity/tokenizer/make_tables.py"
        f" from tokenizers {tokenizers.__version__}; not edited by hand.\n"
        + constant("SPACES", "\\s, as (gap, length).", runs(matching(r"\s")))
        + constant("LETTERS", "\\p{L}, as (gap, length).", runs(matching(r"\p{L}")))
        + constant("NUMBERS", "\\p{N}, as (gap, length).", runs(matching(r"\p{N}")))
        + constant("COMPOSING", "What NFC may change, as (gap, length).", runs(composing))
        + constant(
            "TRAILING",
            "What NFC may move or join to the character before, as (gap, length, combining class).",
            labelled_runs(trailing),
        )
        + constant(
            "LOWERCASE",
            "Lowercase of one character, as (first, count, step, difference).",
            lowercase_runs(lower),
        )
        + "\n/** Lowercase of more than one character. */\n"
        + "export const LOWERCASE_EXPANSIONS: readonly (readonly [number, string])[] = "
        + f"[{quoted}]\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()

"""Texts on which tokenizers are likely to differ. Deterministic."""

import random
import unicodedata
from collections.abc import Iterator

SPECIALS = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<|STARTOFTEXT|>",
    "<|EndOfText|>",
    "<|endoftext|",
    "!",
]
CONTRACTIONS = [
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "'S",
    "'T",
    "'RE",
    "'Ve",
    "'M",
    "'lL",
    "'D",
]
SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace()] + list(
    "\u180e\u200b\u200c\u200d\u2060\ufeff"
)
WORDS = """
    a photo of the astronaut riding horse on Mars watercolour sunset 4k masterpiece
    anti-aliased rock'n'roll don't it's I'm they'll we've he'd you're 1girl 2x 3.14 e=mc2 C++
    naïve café Ångström Øresund Straße İstanbul ıspanak ΟΔΥΣΣΕΥΣ Σίσυφος ΣΑΣ ﬁne ﬃ Ǆ ǅ ǆ
""".split()  # noqa: SIM905
SCRIPTS = {
    "Greek": (0x370, 0x3FF),
    "Cyrillic": (0x400, 0x4FF),
    "Hebrew": (0x591, 0x5F4),
    "Arabic": (0x600, 0x6FF),
    "Devanagari": (0x900, 0x97F),
    "Bengali": (0x980, 0x9FE),
    "Tamil": (0xB80, 0xBFA),
    "Thai": (0xE01, 0xE5B),
    "Tibetan": (0xF00, 0xFDA),
    "Georgian": (0x10A0, 0x10FF),
    "Hangul jamo": (0x1100, 0x11FF),
    "Cherokee": (0x13A0, 0x13FD),
    "Balinese": (0x1B00, 0x1B7E),
    "kana": (0x3041, 0x30FF),
    "Han": (0x4E00, 0x9FFF),
    "Hangul": (0xAC00, 0xD7A3),
    "compatibility Han": (0xF900, 0xFAD9),
    "halfwidth and fullwidth": (0xFF01, 0xFFEE),
    "presentation forms": (0xFB00, 0xFB4F),
    "Deseret": (0x10400, 0x1044F),
    "Kaithi": (0x11080, 0x110C2),
    "Grantha": (0x11300, 0x11374),
    "Tulu-Tigalari, newer than the reference": (0x11380, 0x113E2),
    "Tangut components": (0x18D00, 0x18DFF),
    "musical": (0x1D100, 0x1D1FF),
    "mathematical": (0x1D400, 0x1D7FF),
    "Todhri, newer than the reference": (0x105C0, 0x105F3),
    "Beria Erfe, newer still": (0x16EA0, 0x16ED3),
    "numbers": (0x2150, 0x218B),
    "enclosed": (0x2460, 0x24FF),
    "arrows and operators": (0x2190, 0x22FF),
    "private": (0xE000, 0xE0FF),
    "tags": (0xE0020, 0xE007F),
}
MARKS = (
    [chr(c) for c in range(0x300, 0x370)]
    + list(
        "\u0591\u05b0\u064b\u0651\u0654\u093c\u094d\u09be\u0bd7\u0f71\u0f72\u0f74\u0f73\u0f75\u0f81"
    )
    + list(
        "\u1dc0\u1dfa\u1ab0\u1acf\u20d0\u302a\u3099\u309a\ua66f\ufe20\U0001d165\U0001d16d\U0001e8d0"
    )
    # Assigned after the reference's tables were made.
    + list(
        "\u07fd\u0898\u08d3\u09fe\u0c3c\u1abf\u1df6\ua82c\U00010d24\U00010eab\U000113c9\U000113b8"
    )
)
ZWJ = "\u200d"
EMOJI = [
    *"😀😂🥺🔥✨🎨🚀🐈🌈❤☠",
    *[
        "❤\ufe0f",
        "☠\ufe0f",
        "👍🏽",
        "🇩🇪",
        "1\ufe0f\u20e3",
        "#\ufe0f\u20e3",
        "🫨",
        "🪿",
        "\U0001fae9",
    ],
    f"🧑🏿{ZWJ}🚀",
    f"👨{ZWJ}👩{ZWJ}👧{ZWJ}👦",
    f"🏳\ufe0f{ZWJ}🌈",
    f"🏴{ZWJ}☠\ufe0f",
    f"🐈{ZWJ}⬛",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    ZWJ,
    "\ufe0f",
]
PUNCTUATION = [
    *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    *"…—–‘’“”«»¿¡·•′″、。「」！？，：；（）€£¥©®™°§¶†‡",
]
SENTENCES = [
    "",
    "a red circle on a blue background",
    "A majestic lion jumping from a big stone at night",
    "An Astronaut, in a JUNGLE; cold colour-palette, muted colours, (detailed:1.3), 8k!!",
    "it's a dog's life: they're, we've, I'm, he'll, she'd, can't",
    "IT'S A DOG'S LIFE: THEY'RE, WE'VE, I'M, HE'LL, SHE'D, CAN'T",
    "''s 's' '' ''' 's's 'sup 'tis 'd'll're",
    "<|startoftext|>a cat<|endoftext|>",
    "<|StartOfText|>a cat<|ENDOFTEXT|>",
    "a<|endoftext|>b!!<|ENDOFTEXT|>!!<|endoftext|>!!",
    "<|endoftext|><|endoftext|>!!!<|startoftext|>",
    "<<|endoftext|>> <|endoftext |> <|end oftext|> <|pad|>",
    "wow! wow!! wow!!! ! !a a!a !!a!! !! !",
    "e\u0301 é E\u0301 É ế ê\u0301 e\u0302\u0301 e\u0301\u0302",
    "a\u0316\u0301 a\u0301\u0316 \u0301a \u0301 a\u0345\u0301",
    "\u1100\u1161\u11a8 각 \u1100\u1161 \u1161\u11a8 가\u11a8",
    "Å \u212b A\u030a Ω \u2126 K \u212a",
    "İ i ı I İSTANBUL ISPARTA i̇",
    "ß ẞ STRASSE Straße ﬁ ﬂ ﬀ ﬃ ﬅ",
    "ΟΔΟΣ ΟΔΟΣ. ΣΑΣ Σ ς σ ΑΣ\u0301 ΑΣΑ",
    "\ufeffa cat\ufeff \ufeff",
    "a\x00b \x00 \x01\x02 \x1c \x1d \x1e \x1f \x7f \x80 \x85 \x9f",
    "tab\tnewline\nreturn\r\nvertical\x0bfeed\x0c nbsp\u00a0 ideographic\u3000 ogham\u1680",
    "zero\u200bwidth soft\u00adhyphen word\u2060joiner \u180e \u200e\u200f\u202e",
    "12345 1,234.5 ½ ⅷ Ⅷ ² ① ٣ 三 𝟛 1st 2nd",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒊𝒔 𝓌𝑒𝒾𝓇𝒹",
    "\ufffd \U0010ffff \ufffe \uffff \U000f0000",
    "Ǆ ǅ ǆ ᾼ ᾳ ŉ ǰ ΐ և ẖ",
    "q̇̃ ṩ s\u0323\u0307 s\u0307\u0323 \u1e9b\u0323",
    "\u0f73 \u0f75 \u0f81 \u0f71\u0f72 \u0344 \u0340\u0341\u0343 \u0958 \u095c \u0929",
]


def texts() -> Iterator[str]:
    """Yield all texts in a fixed order, some again in other normal forms."""
    rng = random.Random(77)
    yield from SENTENCES
    for base in [*SENTENCES, *WORDS, *EMOJI]:
        yield f"{base} {base.upper()} {base.title()} {base.swapcase()}"
        yield unicodedata.normalize("NFD", base) + " " + unicodedata.normalize("NFC", base)
        yield base + rng.choice(EMOJI) + base + rng.choice(PUNCTUATION) * 3 + base
    for space in SPACES:
        yield f"{space}a{space}{space}b c'{space}s 1{space}2{space}"
    for special in SPECIALS:
        for word in ["", "a", "é", "1", "'", "!", " ", "Σ", "\u0301", "<", "|>"]:
            yield f"{word}{special}{word} {special}{word}{special} {special[:-1]}{word}"
    for contraction in CONTRACTIONS:
        for word in ["", "it", "IT", "1", "é", "Σ", "!", "''", " ", "\u0301"]:
            curly = "\u2019" + contraction[1:]
            yield f"{word}{contraction}{word} {contraction}{contraction}{word} {word}{curly}"
    for first, last in SCRIPTS.values():
        for _ in range(12):
            yield " ".join(
                "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 6)))
                for _ in range(rng.randint(1, 5))
            )
    yield from (mixture(rng) for _ in range(1300))
    yield from very_long(rng)


def mixture(rng: random.Random) -> str:
    """Return a few random pieces of all kinds, most without a space between them."""
    pieces = []
    for _ in range(rng.randint(1, 14)):
        piece = rng.choice(
            [
                rng.choice(WORDS),
                rng.choice(WORDS).upper(),
                rng.choice(EMOJI),
                rng.choice(PUNCTUATION) * rng.randint(1, 4),
                rng.choice(SPACES),
                rng.choice(SPECIALS),
                rng.choice(CONTRACTIONS),
                str(rng.randint(0, 99999)),
                "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 5))),
                script_text(rng),
                "".join(chr(rng.randint(0, 0x7F)) for _ in range(rng.randint(1, 6))),
                "".join(chr(any_code_point(rng)) for _ in range(rng.randint(1, 3))),
            ]
        )
        pieces.append(piece + rng.choice(["", " "]))
    return "".join(pieces)


def script_text(rng: random.Random) -> str:
    """Return a few characters of one script, often with marks."""
    first, last = rng.choice(list(SCRIPTS.values()))
    return "".join(
        chr(rng.randint(first, last)) + rng.choice(["", rng.choice(MARKS)]) for _ in range(3)
    )


def any_code_point(rng: random.Random) -> int:
    """Return any code point except surrogates, more often from the lower planes."""
    point = rng.randrange(rng.choice([0x800, 0x3000, 0x10000, 0x20000, 0x110000]))
    return point if not 0xD800 <= point < 0xE000 else 0xFFFD


def very_long(rng: random.Random) -> Iterator[str]:
    """Return texts of about 77 tokens and many more, with and without blanks."""
    for count in range(73, 80):
        yield " ".join(["cat"] * count)
        yield "1" * count
        yield "cat " * (count - 3) + "supercalifragilisticexpialidocious"
        yield "cat " * (count - 1) + f"👨{ZWJ}👩{ZWJ}👧{ZWJ}👦é"
    yield "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(3000))
    yield "a" * 3000
    yield "ab" * 1500
    yield "!" * 1000
    yield "?!" * 500
    yield "漢字" * 300
    yield "e\u0301\u0316" * 400
    yield "a" + "\u0301\u0316\u0334\u0345" * 100
    yield " " * 2000 + "a" + "\n" * 2000
    yield " ".join(rng.choice(WORDS) for _ in range(600))

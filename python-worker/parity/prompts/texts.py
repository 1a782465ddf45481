"""Prompts on which readings of weights, escapes and chunks are likely to differ. Deterministic."""

import random

A1111 = [
    "",
    "normal text",
    "an (important) word",
    "(unbalanced",
    "un)balanced",
    "[un(bal]anced)",
    "((a] b) [c",
    r"\(literal\]",
    r"a \\(b) \x \: \\",
    "\\",
    "(unnecessary)(parens)",
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
    "(a:1.2) (b: 1.2 ) (c:\t+.5) (d:-1) (e:1.) (f :1.1)",
    "(a:1.2.3)",
    "(a:.)",
    "(a:x) (b:) (:1.2) a:1.2) :1.3)",
    "((a:1.2) b:1.3)",
    "(a (b:1.2) c) [d [e] f]",
    "[a:b:c] [x] [a:b]",
    "(a BREAK b:1.5) c",
    "a BREAK b",
    "BREAK",
    "a\nBREAK\n\nBREAK b BREAK",
    "aBREAK BREAKa BREAK_ BREAK, \u00e9BREAK BREAK\u0301",
    "break Break (BREAK) [BREAK]",
    "a BREAK (b:1.1)BREAK",
    "(x:-1)BREAK(y:-1)",
    "\u00a0BREAK\u2003 \u001cBREAK\u001d \ufeffBREAK",
    "(\u0663:\u0661.\u0662)",
    "()",
    "(())",
    "[]",
    "(:1.5)",
    "((:1.5))",
    "([)]",
    "\U0001f600 (\u6f22\u5b57:1.2)",
    "AND and BRAND",
]

SCHEDULED = [
    "[a:b:0.5]",
    "[a:0.5]",
    "[:b:3]",
    "[a::.25]",
    "[a:b: 0.5 ]",
    "[a|b]",
    "[a|]",
    "[fe|]male",
    "x [(a:1.2):b:5]",
    "[a:[b:c:2]:1]",
    "((a][:b:c [d:3]",
    "[a:1e3]",
    "[a:-1]",
    "(a:[b|c]:1.2)",
    "[[a|b]]",
]
"""What the web UI's grammar reads as a prompt that changes between steps."""

STEADY = [
    "[a:b]",
    "[a]",
    "[a:b:c]",
    "[a:b:c:0.5]",
    "a:0.5",
    "(a:0.5)",
    r"[a\:b]",
    "[a:0.5",
    "a:0.5]",
    "[(a:0.5)]",
    "[a:0.5x]",
    r"\[a:0.5\]",
    "(a:b:0.5)",
    "[[a]]",
    "[]",
    "[a b]",
    "[a:.]",
    "[a:0.5.5]",
]
"""What it reads as one prompt for all steps."""

COMPEL = [
    "",
    "   ",
    "a tall man picking apricots",
    "a tall man picking apricots++",
    "a (tall man)++ picking apricots--",
    "a tall- man, apricots- ",
    "(a (red (ball)1.5)0.5 on++ grass)1.2",
    "(a b)1.3 c",
    "(a b)1 c",
    "(a b).5 c",
    "(a b)1. c",
    "(a b) 1.3 c",
    "(a b)+1.3 c",
    "(a b)-0.5 c",
    '"a b"++ c',
    '"a b" ++',
    '"a b"1.3c',
    '"", x',
    '"a (b)+ c"1.2',
    '"a\tb',
    '"a \\"b\\" c"+',
    '"a\\nb"+ "c\nd"+',
    '"a-b c - d"',
    '"a (b"1.2',
    '("a b"1.2, c)+',
    "(a=b)1.3",
    "(a - b)1.3",
    "(a -b)1.3",
    "(a+b)1.3",
    "(a+ b)1.3",
    "a=b+",
    "a-b-",
    "a--b",
    "a+-",
    "-a",
    "+ a",
    "a -",
    "well-known 3-5 -5 x-5- 1.5+ 2+",
    "(1.5, 2.5)1.2",
    "a.b+",
    "(a.b)+",
    "a..b",
    r"\(a\)+ b",
    r"\(a b\)+",
    r"(a \(b\))1.2",
    r"C\+\+ a\-b\,c\.d\=e",
    r"\\(a)1.2",
    r"\\\(a) b",
    r"(x \\\(a)1.2",
    '\\"a b\\"+',
    "(unbalanced",
    "un)balanced",
    "((a)1.2",
    "(a))1.2",
    "foo(bar)1.3",
    "a,b,,c,(d)1.2",
    "()1.2 a",
    "() a",
    "(,)1.3",
    "(.)0.7",
    "(a).attend(1.3) b",
    "a.attend(++) c",
    "(a b) .attend( 0.5 )",
    '"a".attend(-)',
    "a.attend()",
    "a.attend(x)",
    "a.b.attend(1.2)",
    "a\u00a0b+ (c\u2003d)1.2",
    "\u6f22\u5b57+ \U0001f600--",
    "a\n(b\nc)1.3\td+",
    "masterpiece, best quality, (red hair)1.3, (bad hands)0.2, text-, photo++",
    "(a)1.2 (b)1.2 (c)0.9 (d)0.9",
    "(a)0.9 (!)0.8 ?0.7",
    "(!!)0.5 a",
    "a (!a b)0.5",
    "(<|endoftext|> b)0.4 c",
    "(a)00.5 (b)1.20 (c)\u0661.\u0662",
    "(a)-- (b)----",
    "(a)++++++++++",
]

OPERATORS = [
    '("a b", "c").and()',
    '("a", "b").and(1, 0.5) c',
    '("a", "b").add()',
    '("a", "b").blend(1, 1)',
    "(a, b).blend(0.5, 0.5)",
    "a (cat).swap(dog)",
    "a cat.swap(dog)",
    '"a cat".swap("a dog") b',
    "a withLora(x, 0.5)",
    "useLora(x) a",
    '("a", "b") .and ()',
]
"""compel's operators that mix several encodings, edit attention or load files."""

WORDS = """
    masterpiece best quality ultra-detailed portrait of an astronaut riding horse on mars red hair
    sunset cinematic lighting 8k photo, oil painting, watercolour, don't a1b2 caf\u00e9 \u6f22\u5b57
    antidisestablishmentarianism wood; stone: glass. grass. sky, river, (tower) [ruin] "quote"
""".split()  # noqa: SIM905


def mixed(pieces: list[str], count: int, longest: int, seed: int) -> list[str]:
    """`count` texts of up to `longest` random pieces."""
    draw = random.Random(seed)
    return ["".join(draw.choices(pieces, k=draw.randint(1, longest))) for _ in range(count)]


def a1111_mixed() -> list[str]:
    pieces = [
        *"()[]:\\ \n",
        "a",
        "bc",
        "1.3",
        ":1.2)",
        ": .5 )",
        "BREAK",
        " BREAK ",
        "\\(",
        "\\]",
        "-",
        ".",
        "\u00e9",
    ]
    return mixed(pieces, 600, 14, 1)


def compel_mixed() -> list[str]:
    pieces = [
        *'()+-".,= \\',
        "a",
        "bc ",
        "1.3",
        "0.5",
        ")1.2",
        ")++",
        '"-',
        "\\(",
        '\\"',
        "\\+",
        " (",
        "\u00e9",
        "3",
    ]
    return mixed(pieces, 600, 10, 2)


def long_texts() -> list[str]:
    """From 60 to 330 tokens, with and without commas, sentences and weights."""
    draw = random.Random(3)
    texts = [
        "a " * 74 + "b",
        "a " * 75 + "b",
        "a " * 76,
        "a, " * 37 + "b c d",
        "a " * 54 + ", " + "b " * 19 + "c d",
        "a " * 55 + ", " + "b " * 19 + "c d",
        "a " * 74 + ", b, c",
        "a " * 75 + ", b, c",
        "antidisestablishmentarianism" * 20,
        "! " * 100,
        "a. " * 10 + "b " * 70 + "c. d " * 30,
    ]
    for _ in range(30):
        words = draw.choices(WORDS, k=draw.randint(40, 160))
        for _ in range(draw.randint(0, 4)):
            words.insert(draw.randrange(len(words)), draw.choice([", ", ". ", ", "]))
        texts.append(" ".join(words))
    return texts


def weighted_long(a1111: bool) -> list[str]:
    """Long texts in which stretches have weights."""
    draw = random.Random(4)
    texts = []
    for text in long_texts()[11:]:
        words = [word.strip('()[]"') for word in text.split()]
        for _ in range(draw.randint(1, 5)):
            start = draw.randrange(len(words))
            end = min(len(words) - 1, start + draw.randint(0, 30))
            weight = draw.choice(["0.5", "0.85", "1.1", "1.3"])
            words[start] = f"({words[start]}"
            words[end] += f":{weight})" if a1111 else f"){weight}"
            if a1111 and draw.random() < 0.3:
                words.insert(draw.randrange(len(words)), "BREAK")
        texts.append(" ".join(words))
    return texts

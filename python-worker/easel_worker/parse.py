"""Turn an option's text into its value. All raise ValueError, or OSError for a file."""

import re
from collections.abc import Callable
from pathlib import Path

from easel_worker.values import Size

LONGEST_SOCKET_PATH = 107
KEY_LENGTH = 40
MODEL_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/-]{0,127}")
SIZE_SETS = {
    "sdxl": tuple(
        Size(*size)
        for size in (
            (1024, 1024),
            (1152, 896),
            (896, 1152),
            (1216, 832),
            (832, 1216),
            (1344, 768),
            (768, 1344),
            (1536, 640),
            (640, 1536),
        )
    )
}
"""Named sets of sizes. sdxl: the usual ones of SDXL's training sizes of about one megapixel.

Source: https://arxiv.org/abs/2307.01952, appendix I.
"""

CURVE_KEY = re.compile(rf"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{{}}@%$#]{{{KEY_LENGTH}}}")


def positive(value: str) -> int:
    """An integer of 1 or more."""
    number = int(value)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def count(value: str) -> int:
    """An integer of 0 or more."""
    number = int(value)
    if number < 0:
        raise ValueError("must be 0 or more")
    return number


def folder(value: str) -> Path:
    """A folder that exists."""
    path = Path(value)
    if not path.is_dir():
        raise ValueError(f"{value} is not a folder")
    return path


def counts(value: str) -> tuple[int, ...]:
    """Integers of 1 or more, joined by commas."""
    return tuple(positive(text) for text in value.split(","))


def duration(value: str) -> float:
    """A finite number of 0 or more."""
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError("must be 0 or more")
    return number


def switch(value: str) -> bool:
    """A boolean."""
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value.lower() not in known:
        raise ValueError("must be true or false")
    return known[value.lower()]


def choice(*choices: str) -> Callable[[str], str]:
    """A parser that accepts only these words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def sizes(value: str) -> tuple[Size, ...]:
    """WIDTHxHEIGHT or names of sets, joined by commas; repeated sizes count once."""
    texts = [text.strip() for text in value.split(",")]
    return tuple(
        dict.fromkeys(each for text in texts for each in SIZE_SETS.get(text) or [size(text)])
    )


def size(text: str) -> Size:
    """WIDTHxHEIGHT in pixels."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        sets = ", ".join(SIZE_SETS)
        raise ValueError(f"{text!r} is not a size such as 1024x768, nor a set of sizes ({sets})")
    return Size(int(width), int(height))


def endpoint(value: str) -> str:
    """A ZeroMQ endpoint to connect to."""
    scheme, _, rest = value.partition("://")
    if scheme not in ("ipc", "tcp") or not rest:
        raise ValueError("must be ipc://PATH or tcp://HOST:PORT")
    if scheme == "ipc" and len(rest.encode()) > LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a socket has at most {LONGEST_SOCKET_PATH} bytes")
    return value


def worker_name(value: str) -> str:
    """A name that ZeroMQ accepts as a routing id."""
    if not 1 <= len(value.encode()) <= 255 or value[0] == "\0":
        raise ValueError("must have 1 to 255 bytes")
    return value


def model_name(value: str) -> str:
    """A name that a client can write in a request and in a path."""
    if not MODEL_NAME.fullmatch(value):
        raise ValueError(
            "must have 1 to 128 characters of A-Z a-z 0-9 . _ - /, first of A-Z a-z 0-9"
        )
    return value


def curve_key(value: str) -> str:
    """A CURVE key in Z85, or @FILE for a file that contains one.

    A key may itself begin with @. Text with the form of a key is a key, unless it names an absolute
    path or an existing file.
    """
    file = Path(value[1:])
    is_file = value.startswith("@") and (
        not CURVE_KEY.fullmatch(value) or file.is_absolute() or file.is_file()
    )
    key = file.read_text(encoding="ascii").strip() if is_file else value
    if not CURVE_KEY.fullmatch(key):
        raise ValueError(
            f"must be a key of {KEY_LENGTH} characters (Z85), or @FILE for a file that contains one"
        )
    return key

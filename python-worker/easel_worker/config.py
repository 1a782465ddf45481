"""The worker's settings: the only reader of the environment and the command line.

Every option is declared once, below, with its flag, its environment variable, its default and its
help; `--help` and the parsing derive from that. A flag wins over the variable, which wins over the
default.
"""

import argparse
import dataclasses
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from easel_worker.fake_engine import Fault
from easel_worker.logs import LEVELS

LONGEST_SOCKET_PATH = 107
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class ConfigError(ValueError):
    """A setting is wrong; the text names the flag or the variable, and says what to do."""


def _text(value: str) -> str:
    return value


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def _duration(value: str) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError("must be 0 or more")
    return number


def _switch(value: str) -> bool:
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "0": False,
        "false": False,
        "no": False,
        "": False,
    }
    if value.lower() not in known:
        raise ValueError("must be true or false")
    return known[value.lower()]


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def _sizes(value: str) -> tuple[tuple[int, int], ...]:
    sizes = []
    for size in value.split(","):
        width, cross, height = size.strip().partition("x")
        if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
            raise ValueError(f"{size.strip()!r} is not a size such as 1024x768")
        sizes.append((int(width), int(height)))
    return tuple(dict.fromkeys(sizes))


def _endpoint(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in ("ipc", "tcp") or not rest:
        raise ValueError("must be ipc://PATH or tcp://HOST:PORT")
    if scheme == "ipc" and len(rest.encode()) > LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a socket has at most {LONGEST_SOCKET_PATH} bytes")
    return value


def _worker_name(value: str) -> str:
    if not 1 <= len(value.encode()) <= 255 or value[0] == "\0":
        raise ValueError("must have 1 to 255 bytes")
    return value


def _key(value: str) -> str:
    """A CURVE key in Z85, or @FILE with one in it."""
    key = Path(value[1:]).read_text(encoding="ascii").strip() if value.startswith("@") else value
    if len(key) != 40:
        raise ValueError("must be a key of 40 characters (Z85), or @FILE with one in it")
    return key


def _faults(value: str) -> tuple[Fault, ...]:
    return tuple(_fault(part.strip()) for part in value.split(",") if part.strip())


def _fault(text: str) -> Fault:
    """KIND:warm or KIND:SEED@STAGE."""
    kind, _, where = text.partition(":")
    seed, at, stage = where.partition("@")
    if kind not in ("raise", "oom", "invalid", "exit", "hang"):
        raise ValueError(f"{kind!r} is no fault: raise, oom, invalid, exit or hang")
    if where == "warm":
        return Fault(kind, "warm")  # type: ignore[arg-type]
    if not (at and seed.isdigit() and (stage in ("encode", "decode") or stage.isdigit())):
        raise ValueError(
            f"{text!r} is not like raise:13@encode, raise:13@2, raise:13@decode, oom:warm"
        )
    return Fault(kind, stage, int(seed))  # type: ignore[arg-type]


def _option(
    flag: str,
    env: str,
    parse: Callable[[str], Any],
    default: Any,
    text: str,
    *,
    secret: bool = False,
) -> Any:
    """Declare an option. The default is what `parse` would give."""
    metadata = {"flag": flag, "env": env, "parse": parse, "help": text}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True)
class Config:
    """All settings, parsed and checked."""

    connect: str = _option(
        "--connect", "EASEL_CONNECT", _endpoint, "ipc:///tmp/easel.sock",
        "where the gateway listens: ipc://PATH, or tcp://HOST:PORT (beyond loopback with CURVE keys)",
    )  # fmt: skip
    name: str = _option(
        "--name", "EASEL_WORKER_NAME", _worker_name, "",
        "the worker's name, unique among its gateway's workers; default: host name and process id",
    )  # fmt: skip
    engine: str = _option(
        "--engine", "ENGINE", _choice("sdxl", "fake"), "sdxl",
        "sdxl makes images; fake makes pictures that tests can compute, without a model",
    )  # fmt: skip
    model: Path | None = _option(
        "--model", "MODEL", Path, None,
        "a model in the standard diffusers folder; the fake engine only takes its tokenizers' identity",
    )  # fmt: skip
    dtype: str = _option(
        "--dtype", "DTYPE", _choice("bfloat16", "float32"), "bfloat16",
        "what the model computes in: bfloat16 or float32",
    )  # fmt: skip
    sizes: tuple[tuple[int, int], ...] | None = _option(
        "--sizes", "SIZES", _sizes, None,
        "sizes to compile, such as 1024x1024,512x512; the first is the default; default: the model's own",
    )  # fmt: skip
    rows: int = _option(
        "--rows", "ROWS", _positive, 8,
        "how many rows one denoising step holds; a guided image takes two",
    )  # fmt: skip
    compile_cache: Path | None = _option(
        "--compile-cache", "COMPILE_CACHE", Path, None,
        "a folder where compiled programs are kept from one start to the next",
    )  # fmt: skip
    drain_grace_s: float = _option(
        "--drain-grace", "DRAIN_GRACE", _duration, 20.0,
        "seconds that running images may take after SIGTERM; a second signal exits at once",
    )  # fmt: skip
    exit_with_parent: bool = _option(
        "--exit-with-parent", "EXIT_WITH_PARENT", _switch, False,
        "exit when standard input closes: for a worker that the gateway starts",
    )  # fmt: skip
    log_level: str = _option(
        "--log-level", "LOG_LEVEL", _choice(*LEVELS), "info",
        "the lowest level that is logged: " + ", ".join(LEVELS),
    )  # fmt: skip
    curve_server_key: str | None = _option(
        "--curve-server-key", "EASEL_CURVE_SERVER_KEY", _key, None,
        "the gateway's public CURVE key (Z85), or @FILE",
    )  # fmt: skip
    curve_secret_key: str | None = _option(
        "--curve-secret-key", "EASEL_CURVE_SECRET_KEY", _key, None,
        "the worker's own secret CURVE key, best as @FILE; its public key follows from it",
        secret=True,
    )  # fmt: skip
    fake_step_ms: float = _option(
        "--fake-step-ms", "FAKE_STEP_MS", _duration, 5.0,
        "fake engine: how long a denoising step takes",
    )  # fmt: skip
    fake_encode_ms: float = _option(
        "--fake-encode-ms", "FAKE_ENCODE_MS", _duration, 1.0,
        "fake engine: how long encoding a prompt takes",
    )  # fmt: skip
    fake_decode_ms: float = _option(
        "--fake-decode-ms", "FAKE_DECODE_MS", _duration, 1.0,
        "fake engine: how long decoding an image takes",
    )  # fmt: skip
    fake_warm_ms: float = _option(
        "--fake-warm-ms", "FAKE_WARM_MS", _duration, 0.0,
        "fake engine: how long loading takes before the worker is ready",
    )  # fmt: skip
    fake_faults: tuple[Fault, ...] = _option(
        "--fake-faults", "FAKE_FAULTS", _faults, (),
        "fake engine: faults by seed, as KIND:SEED@STAGE or KIND:warm, joined by commas; KIND is raise, "
        "oom, invalid, exit or hang; STAGE is encode, decode or the number of a denoising step",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{socket.gethostname()}-{os.getpid()}"[:255])
        self._check_keys()
        if self.engine == "sdxl" and self.model is None:
            raise ConfigError("the sdxl engine needs --model or MODEL: a diffusers folder")

    def _check_keys(self) -> None:
        if (self.curve_server_key is None) != (self.curve_secret_key is None):
            raise ConfigError(
                "--curve-server-key and --curve-secret-key go together: set both or none"
            )
        address = urlsplit(self.connect)
        host = address.netloc.rpartition(":")[0]
        if address.scheme == "tcp" and host not in LOOPBACK and self.curve_server_key is None:
            raise ConfigError(
                f"--connect {self.connect} would be readable by others: "
                "set --curve-server-key and --curve-secret-key, or use ipc:// or loopback"
            )


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """The settings from a command line (without the program's name) and an environment.

    Raises:
        ConfigError: a setting is wrong.
        SystemExit: with 0 after `--help`, with 2 for an unknown flag.
    """
    flags = vars(_parser().parse_args(arguments))
    values = {}
    for field in dataclasses.fields(Config):
        flag, env = field.metadata["flag"], field.metadata["env"]
        if flags[field.name] is not None:
            values[field.name] = _parse(field, flag, flags[field.name])
        elif env in environment:
            values[field.name] = _parse(field, env, environment[env])
    return Config(**values)


def load_or_exit(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """As `load`, but a wrong setting ends the process with status 2 and a line on stderr."""
    try:
        return load(arguments, environment)
    except ConfigError as error:
        _usage_error(str(error))


def _usage_error(message: str) -> NoReturn:
    _parser().exit(2, f"easel-worker: {message}\n")


def _parse(field: "dataclasses.Field[Any]", source: str, value: str) -> Any:
    try:
        return field.metadata["parse"](value)
    except (ValueError, OSError) as error:
        shown = "its value" if not field.repr else repr(value)
        raise ConfigError(f"{source}: {error} (it is {shown})") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="easel-worker",
        description="Holds a model on the accelerator and makes images for an Easel gateway.",
        epilog="A flag wins over its environment variable. "
        "Exit status: 0 drained, 1 failed, 2 usage, 3 refused by the gateway, 4 out of memory at start.",
        allow_abbrev=False,
    )
    for field in dataclasses.fields(Config):
        parser.add_argument(field.metadata["flag"], dest=field.name, **_arguments(field))
    return parser


def _arguments(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    """argparse's view of an option; a switch needs no value."""
    help_text = f"{field.metadata['help']} [{field.metadata['env']}]"
    if field.metadata["parse"] is _switch:
        return {"help": help_text, "nargs": "?", "const": "true"}
    shown = field.default
    if shown not in (None, "", ()):
        help_text += f" (default: {shown})"
    return {"help": help_text.replace("%", "%%"), "metavar": field.metadata["flag"][2:].upper()}

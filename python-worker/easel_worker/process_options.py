"""The worker process's options. Only this module reads the environment and the command line.

`ProcessOptions` declares the options of the process; each engine's package declares its own. The
worker accepts, checks and shows in `--help` the options of all engines, whichever is chosen.
"""

import dataclasses
import os
import socket
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from easel_worker import parse
from easel_worker.engines import ENGINES
from easel_worker.logs import LEVELS, SILENT
from easel_worker.options import (
    NamedOption,
    Option,
    OptionError,
    add_flags,
    declared,
    joined,
    values_of,
)

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
USAGE = 2


@dataclass(frozen=True)
class ProcessOptions:
    """The options of the process and of its engine, parsed and checked."""

    connect: Annotated[
        str,
        Option(
            parse.endpoint,
            "where the gateway listens: ipc://PATH, or tcp://HOST:PORT with CURVE keys",
            env="EASEL_CONNECT",
        ),
    ] = "ipc:///tmp/easel.sock"

    name: Annotated[
        str,
        Option(
            parse.worker_name,
            "the worker's name, unique among its gateway's (default: host name and process id)",
            env="EASEL_WORKER_NAME",
        ),
    ] = ""

    engine: Annotated[
        str,
        Option(
            parse.choice(*ENGINES),
            "; ".join(f"{name} {engine.about}" for name, engine in ENGINES.items()),
        ),
    ] = "sdxl"

    model: Annotated[
        Path | None,
        Option(
            Path,
            "a diffusers folder, a single .safetensors file, or a folder with one such file; the "
            "fake engine reads only the tokenizers of a folder",
        ),
    ] = None

    model_name: Annotated[
        str | None,
        Option(
            parse.model_name,
            "the name by which requests choose the model (default: the name in its folder)",
        ),
    ] = None

    drain_grace_s: Annotated[
        float,
        Option(
            parse.duration,
            "seconds that running images may take after SIGTERM; a second signal exits at once",
            flag="--drain-grace",
            env="DRAIN_GRACE",
        ),
    ] = 20.0

    step_timeout_s: Annotated[
        float,
        Option(
            parse.duration,
            "seconds without progress while rows are in use after which the worker counts as hung "
            "and exits with 6; 0 turns this off",
            flag="--step-timeout",
            env="STEP_TIMEOUT",
        ),
    ] = 120.0

    exit_with_parent: Annotated[
        bool,
        Option(
            parse.switch,
            "exit when standard input closes, and on Linux when the process that started it dies; "
            "the gateway sets this for workers that it starts",
        ),
    ] = False

    log_level: Annotated[
        str,
        Option(
            parse.choice(*LEVELS, SILENT),
            "the lowest level that is logged: " + ", ".join((*LEVELS, SILENT)),
        ),
    ] = "info"

    curve_server_key: Annotated[
        str | None,
        Option(
            parse.curve_key,
            "the gateway's public CURVE key (Z85), or @FILE",
            env="EASEL_CURVE_SERVER_KEY",
        ),
    ] = None

    curve_secret_key: Annotated[
        str | None,
        Option(
            parse.curve_key,
            "the worker's own secret CURVE key, as @FILE; the worker derives its public key",
            env="EASEL_CURVE_SECRET_KEY",
        ),
    ] = dataclasses.field(default=None, repr=False)

    of_engine: Any = None
    """The options of the chosen engine, of the type that `engines.ENGINES` names."""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{socket.gethostname()}-{os.getpid()}"[:255])
        if (self.curve_server_key is None) != (self.curve_secret_key is None):
            raise OptionError("set both --curve-server-key and --curve-secret-key, or neither")
        if _exposed(self.connect) and self.curve_server_key is None:
            raise OptionError(
                f"--connect {self.connect} would be unencrypted on the network: set "
                "--curve-server-key and --curve-secret-key, or use ipc:// or a loopback address"
            )
        if ENGINES[self.engine].needs_model and self.model is None:
            raise OptionError(
                f"the {self.engine} engine needs --model or MODEL: a folder or a single file"
            )


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> ProcessOptions:
    """Read the options from a command line (without the program's name) and an environment.

    An empty environment variable counts as not set.

    Raises:
        SystemExit: 0 after `--help`; 2, with a line on stderr, if an option is wrong.
    """
    own = declared(ProcessOptions)
    every = _unique([*own, *(each for name in ENGINES for each in _options_of(name))])
    parser = _parser(every)
    flags = vars(parser.parse_args(joined(every, arguments)))
    try:
        values = values_of(own, flags, environment)
        engine = values.get("engine", ProcessOptions.engine)
        return ProcessOptions(**values, of_engine=_engine_options(engine, flags, environment))
    except OptionError as error:
        parser.exit(USAGE, f"{parser.prog}: {error}\n")


def _engine_options(name: str, flags: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    """Read an engine's options. Checks the values of other engines' options too."""
    chosen = _options_of(name)
    known = {each.flag for each in chosen}
    others = [each for other in ENGINES for each in _options_of(other) if each.flag not in known]
    values_of(others, flags, environment)
    try:
        return ENGINES[name].options(**values_of(chosen, flags, environment))
    except ValueError as error:
        raise OptionError(str(error)) from error


def _options_of(engine: str) -> tuple[NamedOption, ...]:
    return declared(ENGINES[engine].options)


def _unique(options: Iterable[NamedOption]) -> list[NamedOption]:
    """The first option of each flag."""
    found: dict[str, NamedOption] = {}
    for each in options:
        found.setdefault(each.flag, each)
    return list(found.values())


def _parser(options: Iterable[NamedOption]) -> ArgumentParser:
    parser = ArgumentParser(
        prog="easel-worker",
        description="Runs a model on the accelerator and makes images for an Easel gateway.",
        epilog="A flag overrides its environment variable. Exit status: 0 drained, 1 failed, "
        "2 wrong usage, 3 refused by the gateway, 4 out of memory at start, 5 engine broken, "
        "6 hung, 7 wrong model or option.",
        allow_abbrev=False,
    )
    add_flags(parser, options, variables=True)
    return parser


def _exposed(endpoint: str) -> bool:
    """Whether the endpoint's traffic leaves the machine."""
    address = urlsplit(endpoint)
    return address.scheme == "tcp" and address.netloc.rpartition(":")[0] not in LOOPBACK

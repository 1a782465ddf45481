"""How settings are declared, read and shown.

A setting is a field of a dataclass, annotated with an `Option`. Its flag and its environment
variable follow from the field's name: `vae_tile` is `--vae-tile` and `VAE_TILE`. A flag wins over
the variable, which wins over the field's default.
"""

import dataclasses
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_origin

from easel_worker import parse


class ConfigError(ValueError):
    """A setting is wrong; the text names the flag or the variable, and says what to do."""


class Option(NamedTuple):
    """What the annotation of a field says.

    Attributes:
        parse: makes the value of a text; raises ValueError, or OSError for a file.
        help: one sentence without its full stop.
        flag: where it does not follow from the field's name.
        env: the same for the environment variable.
    """

    parse: Callable[[str], Any]
    help: str
    flag: str | None = None
    env: str | None = None


class Setting(NamedTuple):
    """An option of a field, with all of its names."""

    field: str
    flag: str
    env: str
    parse: Callable[[str], Any]
    help: str
    default: Any


def declared(kind: type, *names: str) -> tuple[Setting, ...]:
    """The settings among the fields of a dataclass; of some of them, the names in this order.

    Raises:
        KeyError: no setting has such a name.
    """
    settings = {
        field.name: _setting(field)
        for field in dataclasses.fields(kind)
        if get_origin(field.type) is Annotated
    }
    return tuple(settings[name] for name in names or settings)


def add_flags(
    parser: ArgumentParser, settings: Iterable[Setting], *, variables: bool = False
) -> None:
    """Make a parser take the flags, for `values_of`; with `variables`, its help names those too."""
    for each in settings:
        variable = f" [{each.env}]" if variables else ""
        text = f"{each.help}{variable}{_shown(each.default)}".replace("%", "%%")
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if _is_switch(each) else {}
        metavar = "BOOL" if switch else each.flag.rpartition("-")[2].upper()
        parser.add_argument(each.flag, dest=each.flag, help=text, metavar=metavar, **switch)


def joined(settings: Iterable[Setting], arguments: Sequence[str]) -> list[str]:
    """The arguments with `--flag value` as `--flag=value` where the value begins with `-`.

    argparse takes such a value for a flag; a CURVE key may well begin so.
    """
    takes_value = {each.flag: not _is_switch(each) for each in settings}
    flags = takes_value.keys() | {"-h", "--help"}
    found: list[str] = []
    for argument in arguments:
        value = argument.startswith("-") and argument.partition("=")[0] not in flags
        if value and found and takes_value.get(found[-1], False):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def values_of(
    settings: Iterable[Setting], flags: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The values that were given, by field.

    Args:
        settings: what to read.
        flags: what a parser of `add_flags` has found: `vars` of it.
        environment: variables; one that is set to nothing counts as not set.

    Raises:
        ConfigError: a value is wrong.
    """
    values = {}
    for each in settings:
        if (flag := flags[each.flag]) is not None:
            values[each.field] = _value(each, each.flag, flag)
        elif variable := environment.get(each.env):
            values[each.field] = _value(each, each.env, variable)
    return values


def _setting(field: "dataclasses.Field[Any]") -> Setting:
    annotation: Any = field.type
    (option,) = annotation.__metadata__
    return Setting(
        field=field.name,
        flag=option.flag or f"--{field.name.replace('_', '-')}",
        env=option.env or field.name.upper(),
        parse=option.parse,
        help=option.help,
        default=field.default,
    )


def _value(setting: Setting, source: str, text: str) -> Any:
    try:
        return setting.parse(text)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _is_switch(setting: Setting) -> bool:
    return setting.parse is parse.switch


def _shown(default: object) -> str:
    """What the help says of a default; nothing where it is nothing."""
    if default in (dataclasses.MISSING, None, "", (), False):
        return ""
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f" (default: {text})"

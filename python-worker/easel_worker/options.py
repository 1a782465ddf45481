"""Declares, reads and shows options.

An option is a field of a dataclass, annotated with `Option`. Its flag and its environment variable
are derived from the field's name: `vae_tile` is `--vae-tile` and `VAE_TILE`. A flag overrides the
variable, which overrides the field's default.
"""

import dataclasses
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_origin

from easel_worker import parse


class OptionError(ValueError):
    """An option is wrong; the text names the flag or the variable and says what to do."""


class Option(NamedTuple):
    """The annotation of an option's field.

    Attributes:
        parse: makes the value from its text; raises ValueError, or OSError for a file.
        help: one sentence without its full stop.
        flag: the flag, if it is not derived from the field's name.
        env: the environment variable, if it is not derived from the field's name.
    """

    parse: Callable[[str], Any]
    help: str
    flag: str | None = None
    env: str | None = None


class NamedOption(NamedTuple):
    """An option with the names of its field, flag and environment variable."""

    field: str
    flag: str
    env: str
    parse: Callable[[str], Any]
    help: str
    default: Any


def declared(kind: type, *names: str) -> tuple[NamedOption, ...]:
    """The options that a dataclass declares: those with these names, in this order, or all.

    Raises:
        KeyError: no option has such a name.
    """
    options = {
        field.name: _named(field)
        for field in dataclasses.fields(kind)
        if get_origin(field.type) is Annotated
    }
    return tuple(options[name] for name in names or options)


def add_flags(
    parser: ArgumentParser, options: Iterable[NamedOption], *, variables: bool = False
) -> None:
    """Add the options' flags to a parser. With `variables` its help names the variables too."""
    for each in options:
        variable = f" [{each.env}]" if variables else ""
        text = f"{each.help}{variable}{_shown(each.default)}".replace("%", "%%")
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if _is_switch(each) else {}
        metavar = "BOOL" if switch else each.flag.rpartition("-")[2].upper()
        parser.add_argument(each.flag, dest=each.flag, help=text, metavar=metavar, **switch)


def joined(options: Iterable[NamedOption], arguments: Sequence[str]) -> list[str]:
    """Replace `--flag value` by `--flag=value` if the value begins with `-`.

    argparse would read such a value as a flag, and a CURVE key may begin with `-`.
    """
    takes_value = {each.flag: not _is_switch(each) for each in options}
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
    options: Iterable[NamedOption], flags: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The values that were given, by field.

    Args:
        options: the options to read.
        flags: `vars` of the result of a parser that `add_flags` has prepared.
        environment: environment variables; an empty one counts as not set.

    Raises:
        OptionError: a value is wrong.
    """
    values = {}
    for each in options:
        if (flag := flags[each.flag]) is not None:
            values[each.field] = _value(each, each.flag, flag)
        elif variable := environment.get(each.env):
            values[each.field] = _value(each, each.env, variable)
    return values


def _named(field: "dataclasses.Field[Any]") -> NamedOption:
    annotation: Any = field.type
    (option,) = annotation.__metadata__
    return NamedOption(
        field=field.name,
        flag=option.flag or f"--{field.name.replace('_', '-')}",
        env=option.env or field.name.upper(),
        parse=option.parse,
        help=option.help,
        default=field.default,
    )


def _value(option: NamedOption, source: str, text: str) -> Any:
    try:
        return option.parse(text)
    except (ValueError, OSError) as error:
        raise OptionError(f"{source}: {error}") from error


def _is_switch(option: NamedOption) -> bool:
    return option.parse is parse.switch


def _shown(default: object) -> str:
    """The help text's note about a default; empty if there is no default to show."""
    if default in (dataclasses.MISSING, None, "", (), False):
        return ""
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f" (default: {text})"

"""An option's declaration makes its flag, variable, value and help."""

from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from easel_worker import parse
from easel_worker.options import Option, OptionError, add_flags, declared, joined, values_of


@dataclass
class Kind:
    """Some options."""

    big_lanes: Annotated[tuple[int, ...], Option(parse.counts, "100 % lanes")] = (1, 2)
    wait_s: Annotated[float, Option(parse.duration, "seconds", flag="--wait", env="PAUSE")] = 0.0
    loud: Annotated[bool, Option(parse.switch, "make noise")] = False
    not_a_setting: int = 3


def given(*arguments: str, **environment: str) -> dict[str, Any]:
    parser = ArgumentParser()
    settings = declared(Kind)
    add_flags(parser, settings)
    return values_of(settings, vars(parser.parse_args(joined(settings, arguments))), environment)


def test_names_are_derived_from_the_field_unless_given() -> None:
    names = [(each.field, each.flag, each.env) for each in declared(Kind)]
    assert names == [
        ("big_lanes", "--big-lanes", "BIG_LANES"),
        ("wait_s", "--wait", "PAUSE"),
        ("loud", "--loud", "LOUD"),
    ]


def test_some_options_in_a_given_order() -> None:
    assert [each.field for each in declared(Kind, "loud", "big_lanes")] == ["loud", "big_lanes"]
    with pytest.raises(KeyError):
        declared(Kind, "not_a_setting")


def test_only_what_is_given_has_a_value() -> None:
    assert given(LOUD="") == {}
    assert given("--loud", "--wait", "2", PAUSE="3", BIG_LANES="4") == {
        "big_lanes": (4,),
        "wait_s": 2.0,
        "loud": True,
    }


def test_an_error_names_the_flag_or_variable() -> None:
    with pytest.raises(OptionError, match=r"^--wait: must be 0 or more$"):
        given("--wait", "-1", PAUSE="x")
    with pytest.raises(OptionError, match=r"^PAUSE: could not convert"):
        given(PAUSE="x")


def test_the_help_names_variables_if_asked() -> None:
    without, with_them = ArgumentParser(), ArgumentParser()
    add_flags(without, declared(Kind))
    add_flags(with_them, declared(Kind), variables=True)
    assert "100 % lanes (default: 1,2)" in without.format_help()
    assert "100 % lanes [BIG_LANES] (default: 1,2)" in with_them.format_help()
    assert "--loud [BOOL]" in without.format_help()

"""The commands that the package installs."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))


@pytest.mark.parametrize("name", PROJECT["project"]["scripts"])
def test_every_command_is_a_function_of_no_arguments(name: str) -> None:
    main = EntryPoint(name, PROJECT["project"]["scripts"][name], "console_scripts").load()
    assert main.__code__.co_argcount == 0

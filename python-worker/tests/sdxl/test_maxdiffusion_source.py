"""Finding MaxDiffusion and checking how it is called."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from easel_worker.maxdiffusion.source import ARGUMENTS, CLASS, FIELDS, find_unet
from tests.support.maxdiffusion import STANDIN, forgotten, variant


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


def test_a_checkout_and_the_folder_of_its_package_are_found(tmp_path: Path) -> None:
    assert find_unet(STANDIN).__name__ == CLASS
    with forgotten():
        found = find_unet(variant(tmp_path, "32", "32"))
        assert Path(sys.modules[found.__module__].__file__ or "").is_relative_to(tmp_path / "src")


def test_the_installed_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STANDIN))
    assert find_unet(None).__name__ == CLASS


def test_without_the_package_the_option_is_named() -> None:
    with pytest.raises(ValueError, match=r"set MAXDIFFUSION to a checkout of https://github"):
        find_unet(None)


def test_a_folder_without_the_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"MAXDIFFUSION={tmp_path} has no src/maxdiffusion"):
        find_unet(tmp_path)


def test_a_missing_requirement_is_named(tmp_path: Path) -> None:
    checkout = variant(tmp_path, "import jax\n", "import jax\nimport no_flax_here\n")
    with pytest.raises(
        ValueError, match=r"MAXDIFFUSION=.* needs the package no_flax_here: install"
    ):
        find_unet(checkout)


@pytest.mark.parametrize("line", ["raise RuntimeError('broken')", "from jax import no_such_name"])
def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, line: str) -> None:
    checkout = variant(tmp_path, "import jax\n", f"import jax\n{line}\n")
    with pytest.raises(ValueError, match=r"cannot be imported: .*Error: .* for commit 7cfb880"):
        find_unet(checkout)


def test_a_class_of_another_name_is_named(tmp_path: Path) -> None:
    checkout = variant(tmp_path, f"class {CLASS}", "class UNet")
    with pytest.raises(ValueError, match=f"{CLASS} cannot be imported"):
        find_unet(checkout)


@pytest.mark.parametrize("field", FIELDS)
def test_a_class_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    checkout = variant(tmp_path, f"    {field}: ", f"    renamed_{field}: ")
    with pytest.raises(ValueError, match=f"as in commit 7cfb880.*: fields has no {field}"):
        find_unet(checkout)


@pytest.mark.parametrize(
    ("method", "argument"), [(method, name) for method in ARGUMENTS for name in ARGUMENTS[method]]
)
def test_a_method_without_an_argument_is_refused(
    tmp_path: Path, method: str, argument: str
) -> None:
    checkout = variant(tmp_path, f" {argument}: ", f" renamed_{argument}: ")
    with pytest.raises(ValueError, match=f"{method} has no {argument}"):
        find_unet(checkout)


def test_a_class_without_a_method_is_refused(tmp_path: Path) -> None:
    checkout = variant(tmp_path, "def init_weights", "def init_params")
    with pytest.raises(ValueError, match=r"init_weights has no rng, eval_only"):
        find_unet(checkout)


def test_one_that_was_imported_before_is_not_mistaken_for_the_checkout(tmp_path: Path) -> None:
    find_unet(STANDIN)
    with pytest.raises(ValueError, match=r"another maxdiffusion was imported before"):
        find_unet(variant(tmp_path, "32", "32"))

"""The table of families in docs/models.md."""

from pathlib import Path

import pytest

from parity.cases import CASES
from parity.families import BEGIN, END, FAMILIES, insert, table
from parity.pipeline.cases import PIPELINE_CASES, inpainting_cases, refiner_cases
from parity.report import Comparison
from parity.schedulers.cases import cases as scheduler_cases
from parity.single_file.cases import FILES

BASE = "sdxl-base-config"
COMPARED = {
    BASE,
    *(case.name for case in CASES),
    *(case.name for case in PIPELINE_CASES),
    *(case.name for case in inpainting_cases()),
    *(case.name for case in refiner_cases()),
    *(case.name for case in scheduler_cases()),
    *(file.name for file in FILES),
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_names_comparisons_that_the_run_makes(family) -> None:
    assert family.cases
    assert set(family.cases) <= COMPARED


def test_a_row_has_the_largest_difference_of_its_comparisons() -> None:
    made = [Comparison("scheduler", name, 1e-6, 1.0) for name in COMPARED]
    made.append(Comparison("unet", "ssd-1b", 6.3e-6, 1.0))
    made.append(Comparison("image, of 255", "ssd-1b", 1.0, 1.0))
    made.append(Comparison("image, of 255", "ssd-1b", 0.0, 1.0))
    made.append(Comparison("diffusers' loss in float32", "ssd-1b", 0.1, 1.0))
    (row,) = [line for line in table(made).splitlines() if line.startswith("| SSD-1B |")]
    assert row.endswith("| `ssd-1b` | images 1/255, numbers 6.3e-06 |")


def test_a_family_without_its_comparison_makes_no_table() -> None:
    made = [Comparison("scheduler", name, 0.0, 1.0) for name in COMPARED - {"vega"}]
    with pytest.raises(ValueError, match="Segmind Vega: not compared: vega"):
        table(made)


def test_the_table_replaces_what_stands_between_the_marks() -> None:
    page = insert(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new\n")
    assert page == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match="lacks the lines"):
        insert("no marks", "new\n")


def test_the_page_has_a_row_for_each_family() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    for family in FAMILIES:
        assert f"| {family.name} | {family.odd} | {family.serve} |" in page

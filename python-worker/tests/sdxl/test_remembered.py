"""The cache of encoded prompts, against a model of it."""

from hypothesis import given
from hypothesis import strategies as st

from easel_worker.sdxl.serving.remembered import Remembered

MOST = 3


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_the_newest_results_are_remembered_and_a_look_up_changes_nothing(
    actions: list[tuple[bool, int]],
) -> None:
    made: list[int] = []

    def make(number: int) -> str:
        made.append(number)
        return str(number)

    remembered, newest = Remembered(make, MOST), list[int]()
    for looks_up, number in actions:
        if looks_up:
            calls = len(made)
            assert ((number,) in remembered) is (number in newest)
            assert len(made) == calls
            continue
        calls = len(made)
        assert remembered(number) == str(number)
        assert len(made) == calls + (number not in newest)
        newest = [*(each for each in newest if each != number), number][-MOST:]

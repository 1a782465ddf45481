"""Sizes of arrays in HLO types."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_worker.compile.buffers import HBM, VMEM, Buffer, buffers, elements, hbm_bytes


@pytest.mark.parametrize(
    ("text", "size", "space"),
    [
        ("bf16[2,1024,1280]{2,1,0:T(8,128)(2,1)}", 2 * 1024 * 1280 * 2, HBM),
        ("bf16[2,77,1280]{2,1,0:T(8,128)(2,1)S(1)}", 2 * 80 * 1280 * 2, VMEM),
        ("bf16[2,77,1280]{1,2,0:T(8,128)(2,1)}", 2 * 128 * 1280 * 2, HBM),
        ("f32[2,1024]{1,0:T(2,128)}", 2 * 1024 * 4, HBM),
        ("f32[1000]{0:T(1024)}", 1024 * 4, HBM),
        ("s8[5,5]", 25, HBM),
        ("pred[]{:T(512)}", 1, HBM),
        ("u32[]{:S(2)}", 4, 2),
        ("s4[8,128]{1,0}", 512, HBM),
        ("f8e4m3fn[16]{0}", 16, HBM),
        ("token[]", 0, HBM),
    ],
)
def test_pads_to_tiles_and_tells_spaces_apart(text: str, size: int, space: int) -> None:
    assert buffers(text) == (Buffer(size, space),)


dimensions = st.lists(st.integers(1, 300), min_size=2, max_size=4)


@given(st.lists(st.tuples(dimensions, st.booleans()), max_size=5))
def test_vector_memory_is_not_moved(arrays: list[tuple[list[int], bool]]) -> None:
    texts = []
    for sizes, vmem in arrays:
        order = ",".join(str(each) for each in reversed(range(len(sizes))))
        shape = ",".join(map(str, sizes))
        texts.append(f"bf16[{shape}]{{{order}:T(8,128)(2,1){'S(1)' if vmem else ''}}}")
    whole = f"({', '.join(texts)})"
    padded = [[*rest, -(-a // 8) * 8, -(-b // 128) * 128] for (*rest, a, b), _ in arrays]
    assert hbm_bytes(whole) == sum(
        2 * math.prod(sizes) for sizes, (_, vmem) in zip(padded, arrays, strict=True) if not vmem
    )
    assert elements(whole) == tuple(texts)


def test_elements_of_nested_tuples() -> None:
    assert elements("((bf16[2,8]{1,0}), bf16[1,8]{1,0:T(8,128)S(1)}, s32[]{:S(2)})") == (
        "(bf16[2,8]{1,0})",
        "bf16[1,8]{1,0:T(8,128)S(1)}",
        "s32[]{:S(2)}",
    )
    assert elements("f32[3]") == ("f32[3]",)

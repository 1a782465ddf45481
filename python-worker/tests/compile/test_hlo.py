"""Reading an optimized HLO program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_worker.compile.hlo import ENTRY, Kind, collectives, kind_of, read_module, running

PROGRAM = """HloModule jit_f, is_scheduled=true

%fused.1 (p0: bf16[8,8]) -> bf16[8,8] {
  %p0 = bf16[8,8]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %convolution.1 = bf16[8,8]{1,0} convolution(%p0, %p0), dim_labels=bf_io->bf
}

%fused.2 (p1: bf16[1,8,8,8]) -> bf16[1,8,8,8] {
  %p1 = bf16[1,8,8,8]{3,2,1,0} parameter(0)
  ROOT %convolution.2 = bf16[1,8,8,8]{3,2,1,0} convolution(%p1, %p1), window={size=3x3 pad=1_1x1_1}
}

%fused.3 (p9: bf16[8,8]) -> bf16[8,8] {
  %p9 = bf16[8,8]{1,0} parameter(0)
  ROOT %fusion.6 = bf16[8,8]{1,0} fusion(%p9), kind=kOutput, calls=%fused.1
}

%body.1 (p2: (s32[], bf16[8,8])) -> (s32[], bf16[8,8]) {
  %p2 = (s32[], bf16[8,8]{1,0}) parameter(0)
  %mine.13 = bf16[8,8]{1,0} custom-call(%p2), custom_call_target="tpu_custom_call"
  ROOT %inside.1 = (s32[], /*index=1*/bf16[8,8]{1,0:T(8,128)(2,1)}) fusion(%mine.13), calls=%fused.1
}

%condition.1 (p3: (s32[], bf16[8,8])) -> pred[] {
  %p3 = (s32[], bf16[8,8]{1,0}) parameter(0)
  %limit.1 = s32[]{:T(128)} constant(4)
  ROOT %less.1 = pred[]{:T(512)} compare(%p3, %limit.1), direction=LT
}

ENTRY %main (x: bf16[8,8]) -> bf16[8,8] {
  %x = bf16[8,8]{1,0} parameter(0)
  %fusion.7 = bf16[8,8]{1,0} fusion(%x), calls=%fused.3, metadata={op_name="jit(f)/a/dot"}
  %fusion.8 = bf16[1,8,8,8]{3,2,1,0} fusion(%x), calls=%fused.2
  %mine.12 = bf16[8,8]{1,0} custom-call(%x), custom_call_target="tpu_custom_call"
  %all-gather-start.1 = bf16[8,8]{1,0} all-gather-start(%x), replica_groups={{0,1}}
  %loop.1 = (s32[], bf16[8,8]{1,0}) while(%x), condition=%condition.1, body=%body.1
  ROOT %add.3 = bf16[8,8]{1,0} add(%x, %x)
}
"""


def test_operations_by_kind() -> None:
    module = read_module(PROGRAM)
    found = {each.name: each for each in module[ENTRY]}
    kinds = [kind_of(found[name], module) for name in ("fusion.7", "fusion.8", "mine.12", "add.3")]
    assert kinds == [Kind.DOT, Kind.CONV, Kind.KERNEL, Kind.OTHER]
    assert found["fusion.7"].scope == "jit(f)/a/dot"
    assert found["mine.12"].base == "mine"
    assert found["add.3"].operands == ("x", "x")
    assert collectives(module) == {"all-gather": 1}


def test_a_tuples_type_ends_at_its_own_parenthesis() -> None:
    [_, _, inside] = read_module(PROGRAM)["body.1"]
    assert inside.result == "(s32[], /*index=1*/bf16[8,8]{1,0:T(8,128)(2,1)})"
    assert (inside.opcode, inside.operands) == ("fusion", ("mine.13",))


def test_counts_a_loop_body_once_per_iteration() -> None:
    times = {each.name: times for each, times in running(read_module(PROGRAM))}
    assert [times[name] for name in ("inside.1", "mine.13", "mine.12")] == [4, 4, 1]
    unknown = PROGRAM.replace("direction=LT", "direction=NE")
    assert {times for _, times in running(read_module(unknown))} == {1}


lines = st.sampled_from(['"block_q":"{\\"q\\": 512"', "}", "},", "  } /* %a = */", "{", 'x="}"'])


@given(st.lists(st.lists(lines, max_size=6), min_size=1, max_size=4))
def test_an_attribute_of_several_lines_ends_no_computation(attributes: list[list[str]]) -> None:
    """Its lines may begin with a brace, or be one."""
    text = ["ENTRY %main (x: f32[]) -> f32[] {"]
    for number, inside in enumerate(attributes):
        text.append(f"  %a.{number} = f32[] custom-call(), frontend_attributes={{a={{")
        depth = 2
        for line in inside:
            change = 1 if line == "{" else -line.replace('"}"', "").count("}")
            if depth + change >= 1:
                text.append(line)
                depth += change
        text += ["}" * depth + ', backend_config={"flag_configs":[]}']
    text += ["  ROOT %last = f32[] add(%a.0, %a.0)", "}"]
    names = [each.name for each in read_module("\n".join(text))[ENTRY]]
    assert names == [*(f"a.{number}" for number in range(len(attributes))), "last"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no entry computation"),
        (PROGRAM.rstrip().removesuffix("}"), "ENTRY does not end"),
        (PROGRAM.replace("add(%x, %x)", "add(%x, %x"), "unbalanced"),
    ],
)
def test_refuses_what_is_no_whole_program(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_module(text)

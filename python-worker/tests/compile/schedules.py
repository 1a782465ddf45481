"""Final schedules for tests, in the form in which libtpu writes them."""

import itertools


class Loop:
    """A loop of `turns`, of which `filling` only fill the pipeline and jump over the body.

    A guarded one says between which turns the body runs, and has stages for one filling turn only:
    so libtpu writes kernels whose result stays in vector memory.
    """

    def __init__(
        self, turns: int, filling: int, body: "list[Part]", *, guarded: bool = False
    ) -> None:
        self.turns, self.filling, self.body, self.guarded = turns, filling, body, guarded

    HEAD = 3
    """Bundles up to the branch over the body."""
    TAIL = 3
    """Bundles from the body's end to the branch back."""
    DELAY = 4
    """Bundles that run after either branch."""

    def cycles(self, part_cycles: int) -> int:
        """The cycles of all turns if a body takes `part_cycles`."""
        around = self.HEAD + self.DELAY + self.TAIL + self.DELAY
        return self.turns * around + (self.turns - self.filling) * part_cycles


Part = int | Loop
"""So many straight bundles, or a loop."""


def cycles(parts: list[Part]) -> int:
    """The cycles of some straight bundles and loops."""
    return sum(each if isinstance(each, int) else each.cycles(cycles(each.body)) for each in parts)


def schedule(parts: list[Part], pops: int = 0) -> str:
    """A schedule's text; each straight bundle pops `pops` results of the first matrix unit."""
    numbers = itertools.count(1)
    address = itertools.count()
    lines = ["= control target key start", "LB: loop body", "= control target key end", ""]

    def bundle(depth: int, text: str = "", label: str = "") -> None:
        start = f"0x{next(address):x}".rjust(6)
        lines.append(f"{start} {label.ljust(2)}: {'> ' * depth}{{ {text} }}")

    def write(parts: list[Part], depth: int) -> None:
        for each in parts:
            if isinstance(each, int):
                for _ in range(each):
                    bundle(depth, " ;; ".join(["%1 = vpop.f32.mrf.mxu0"] * pops or ["%1 = vnop"]))
            else:
                write_loop(each, depth + 1)

    def write_loop(loop: Loop, depth: int) -> None:
        begin, end = next(numbers), next(numbers)
        stages = " ;; ".join(
            f"%s{stage} = sadd.s32 1, %s9 /* iteration index, stage = {stage} */"
            for stage in range((1 if loop.guarded else loop.filling) + 1)
        )
        if loop.guarded:
            first, last = f"%p{end}_p1", f"%p{end}_p2"
            stages += (
                f" ;; {first} = scmp.ge.s32.totalorder %s9, 1"
                f" ;; {last} = scmp.lt.s32.totalorder %s9, {1 + loop.turns - loop.filling}"
                f" ;; %p{end}_p3 = pnand {first}, {last}"
            )
        bundle(depth, f"{stages} /* Start region {begin} */", "LB")
        bundle(depth, f"%dma = dma.hbm_to_vmem [thread:$0] /* \nwindow_bounds: ({end}, 1)\n */")
        bundle(depth, f"%2 = sbr.rel (%p{end}_p3) target = $region{end}")
        for _ in range(loop.DELAY):
            bundle(depth)
        write(loop.body, depth)
        bundle(depth, f"%4 = snop /* Start/End empty region {end} */", "PF")
        test = f"%p{begin}_p8 = scmp.ge.s32.totalorder %s15, {loop.turns} /* loop exit test */"
        bundle(depth, test)
        bundle(depth - 1, f"%14 = sbr.rel (!%p{begin}_p8) target = $region{begin}")
        for _ in range(loop.DELAY):
            bundle(depth - 1)

    write(parts, 0)
    return "\n".join(lines)

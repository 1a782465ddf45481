"""Tenants share the worker's time, and an image of one waits for no other's whole work."""

from hypothesis import given
from hypothesis import strategies as st

from easel_worker.image import Image
from easel_worker.protocol import Tenant
from easel_worker.step_scheduler import StepScheduler
from easel_worker.tenants import in_turn
from easel_worker.values import Size
from tests.support.samples import DEFAULT_SIZE, image

MANY, ONE, HEAVY = Tenant(1, 1.0), Tenant(2, 1.0), Tenant(3, 4.0)
FIXED_S, ROW_S = 0.006, 0.055


def step_s(step: list[Image]) -> float:
    """How long a step takes on a chip that is bound by its rows."""
    return FIXED_S + ROW_S * sum(one.spec.rows for one in step)


def play(scheduler: StepScheduler, until: Image, limit_s: float = 1e6) -> float:
    """Run until an image is done; returns the seconds that it took."""
    now = 0.0
    while now < limit_s:
        scheduler.admit()
        step = scheduler.next_step()
        now += step_s(step)
        scheduler.took(step, step_s(step))
        done = scheduler.stepped(step)
        for one in done:
            scheduler.finished(one)
        if until in done:
            return now
    raise AssertionError("it was never done")


def many(count: int, tenant: Tenant | None) -> list[Image]:
    """Return images of 20 steps, one for each request."""
    return [image(f"many-{number}", steps=20, tenant=tenant) for number in range(count)]


def filled(tenant: Tenant | None, other: Tenant | None) -> tuple[StepScheduler, Image]:
    """Return a scheduler in the middle of forty images, when another one comes."""
    scheduler = StepScheduler(rows=32)
    images = many(40, tenant)
    for one in images:
        scheduler.add([one])
    for _ in range(5):
        scheduler.admit()
        step = scheduler.next_step()
        scheduler.took(step, step_s(step))
        scheduler.stepped(step)
    mine = image("mine", steps=8, tenant=other)
    scheduler.add([mine])
    return scheduler, mine


def test_one_image_takes_its_share_of_the_time_beside_forty() -> None:
    alone_s = 8 * step_s([image("alone")])
    shared_s = play(*filled(MANY, ONE))
    unfair_s = play(*filled(None, None))
    largest_step_s = FIXED_S + 32 * ROW_S
    assert shared_s < 2 * alone_s + 2 * largest_step_s
    assert unfair_s > 5 * shared_s


def test_without_tenants_nothing_changes() -> None:
    scheduler = StepScheduler(rows=32)
    images = many(20, None)
    for one in images:
        scheduler.add([one])
    assert scheduler.admit() == images[:16]
    assert scheduler.next_step() == images[:16]


def test_a_tenant_leaves_room_for_the_first_image_of_another() -> None:
    scheduler = StepScheduler(rows=8)
    images = many(6, MANY)
    for one in images:
        scheduler.add([one])
    assert scheduler.admit() == images[:3]
    other = image("other", tenant=ONE)
    scheduler.add([other])
    assert scheduler.admit() == [other]


def test_free_rows_go_to_the_tenant_that_has_fewest() -> None:
    scheduler = StepScheduler(rows=8)
    images = many(6, MANY)
    late = [image(f"late-{number}", tenant=ONE) for number in range(2)]
    third = image("third", tenant=HEAVY)
    for one in images:
        scheduler.add([one])
    scheduler.admit()
    for one in (*late, third):
        scheduler.add([one])
    assert scheduler.admit() == [late[0]]
    scheduler.cancel("many-0")
    assert scheduler.admit() == [third]
    scheduler.cancel("third")
    assert scheduler.admit() == [late[1]]


def test_a_departing_worker_steps_everything() -> None:
    scheduler, mine = filled(MANY, ONE)
    scheduler.admit()
    assert mine in scheduler.next_step()
    scheduler.took([mine], 5.0)
    assert mine not in scheduler.next_step()
    scheduler.depart()
    step = scheduler.next_step()
    assert mine in step
    assert len(step) > 1


def test_in_turn_keeps_the_order_of_one_tenant() -> None:
    mine, theirs = [image(f"m{n}", tenant=MANY) for n in range(3)], image("t", tenant=ONE)
    assert in_turn([*mine, theirs], {1: 2}) == [theirs, *mine]
    assert in_turn([*mine, theirs], {2: 6}) == [*mine, theirs]


kinds = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from([MANY, ONE, HEAVY, None]),
        "size": st.sampled_from([DEFAULT_SIZE, Size(512, 512)]),
        "rows": st.integers(1, 2),
        "steps": st.integers(1, 6),
    }
)


@given(
    arrivals=st.lists(st.lists(kinds, max_size=5), min_size=1, max_size=30),
    rows=st.integers(2, 16),
)
def test_what_tenants_used_stays_close_and_every_image_is_done(
    arrivals: list[list[dict[str, object]]], rows: int
) -> None:
    """While two tenants can step, what they used differs by a step's largest part at most."""
    scheduler = StepScheduler(rows)
    left: set[Image] = set()
    used: dict[int, float] = {}
    largest: dict[int, float] = {}
    number = 0
    for step_number in range(10_000):
        for kind in arrivals[step_number] if step_number < len(arrivals) else []:
            number += 1
            one = image(f"r{number}", **kind)  # type: ignore[arg-type]
            scheduler.add([one])
            left.add(one)
        scheduler.admit()
        able = {one.tenant.id: one.tenant.weight for one in left if one.state == "running"}
        least = min((used[name] for name in used if name in able), default=0.0)
        used = {name: used.get(name, least) for name in able}
        step = scheduler.next_step()
        assert bool(step) == bool(able)
        assert len({one.shape for one in step}) <= 1
        seconds = step_s(step) if step else 0.0
        scheduler.took(step, seconds)
        total = sum(one.spec.rows for one in step)
        for name, weight in able.items():
            mine = sum(one.spec.rows for one in step if one.tenant.id == name)
            part = seconds * mine / total / weight if total else 0.0
            used[name] += part
            largest[name] = max(largest.get(name, 0.0), part)
        for name, each in used.items():
            assert each - min(used.values()) <= largest[name] * (1 + 1e-6)
        for one in scheduler.stepped(step):
            scheduler.finished(one)
            left.remove(one)
        if not left and step_number >= len(arrivals):
            return
    raise AssertionError("images are left")

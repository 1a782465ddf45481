"""Ways to skip work, beside what the product has: `TRIAL=forecasts npm run bench:drift`.

Each advances a lane of the real engine and changes its arrays between steps. A trial computes the
same as a program of its own would, but does not save its time.
"""

from dataclasses import replace

import jax.numpy as jnp
from jax import Array

from bench import drift
from bench.drift import Advance, Variant
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.lanes import SdxlLane


def forecast(order: int) -> Advance:
    """Cached steps take a forecast of the deep feature, where `cache_order` 0 reuses the last one.

    The forecast is the polynomial through the features of the last full steps: TaylorSeer's, with
    divided differences for its derivatives (https://arxiv.org/abs/2503.06923, section 3.2).

    Args:
        order: of the polynomial; the product has 0 and 1. The first cached steps
            have as much as there are full steps for.
    """

    def advance(engine: SdxlEngine, lane: SdxlLane) -> None:
        seen: list[tuple[float, Array]] = []
        for step in range(lane.spec.steps):
            full = not lane.next.cached
            if not full:
                lane.deep = polynomial(seen[-order - 1 :], float(step))
            engine.step([lane])
            if full and lane.deep is not None:
                seen.append((float(step), lane.deep))

    return advance


def polynomial(points: list[tuple[float, Array]], at: float) -> Array:
    """The value of the polynomial through points (x, array), by Lagrange's formula."""
    total = jnp.zeros_like(points[0][1])
    for i, (x, array) in enumerate(points):
        factor = 1.0
        for j, (other, _) in enumerate(points):
            if i != j:
                factor *= (at - other) / (x - other)
        total += factor * array
    return total


def difference(every: int, order: int) -> Advance:
    """One step in `every` is guided; the others compute the prompt's row alone.

    They add what guidance added last, or its forecast. Takes samplers of first order only.

    Args:
        every: steps from a guided one to the next.
        order: 0 adds the last difference of the rows, 1 a line through the last two.
    """

    def advance(engine: SdxlEngine, lane: SdxlLane) -> None:
        alone = engine.start(replace(lane.spec, guidance=1.0))
        seen: list[tuple[float, Array]] = []
        for step in range(lane.spec.steps):
            factor = float(lane.table.at(step).next_output)
            alone.state = lane.state
            engine.step([alone])
            engine.step([lane])
            if step % every == 0:
                seen.append((float(step), (lane.state.sample - alone.state.sample) / factor))
            else:
                guidance = polynomial(seen[-order - 1 :], float(step))
                sample = alone.state.sample + factor * guidance
                lane.state = alone.state._replace(sample=sample)

    return advance


def variants() -> list[Variant]:
    """Return the trials, each after what the product has for the same work."""
    plain = Variant("plain")
    caching = replace(plain.options, max_cache_interval=5)
    found = [plain]
    for interval in (2, 3, 5):
        asked = {"cache_interval": interval}
        for order in (0, 1):
            name = f"cache_interval {interval}, order {order}"
            found.append(Variant(name, caching, asked | {"cache_order": order}))
        name = f"cache_interval {interval}, order 2"
        found.append(Variant(name, caching, asked, advance=forecast(2)))
    for every, end in ((2, 0.5), (3, 1 / 3), (5, 0.2)):
        found.append(Variant(f"guidance 0 to {end:.2f}", asked={"guidance_end": end}))
        for order in (0, 1):
            name = f"guidance every {every} steps, order {order}"
            found.append(Variant(name, advance=difference(every, order)))
    return found


if __name__ == "__main__":
    drift.run("bench.forecasts", __doc__, lambda _: variants())

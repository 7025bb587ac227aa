"""How long this machine remembers what a program touched: what a cache that is shared with others costs an agent.

An agent answers an event every 20 ms and sleeps in between. Whether its memory is still in the processor's caches then
depends on who else uses them; on a virtual machine nobody tells. So a chain of lists is followed through as much memory
as an event touches, after the processor has done nothing but look at the clock for a while: nothing of this machine
disturbs it meanwhile. What a step takes more than at once after the last round is what others made the caches forget.

Run it as `python -m benchmarks.forgetting`.
"""

from __future__ import annotations

import random
import statistics
import time

STEPS = 8_000
"""Of one cache line or two each: about as many as an event that needs a commit touches."""
PAUSES = (0.0, 0.001, 0.005, 0.02)
ROUNDS = 150
Link = list["Link"]


def chain() -> Link:
    """A ring of lists in an order that no processor foresees."""
    links: list[Link] = [[] for _ in range(STEPS)]
    order = random.Random(1).sample(links, STEPS)
    for one, following in zip(order, [*order[1:], order[0]], strict=True):
        one.append(following)
    return links[0]


def follow(link: Link) -> float:
    """Nanoseconds a step, once around."""
    started = time.perf_counter()
    for _ in range(STEPS):
        link = link[0]
    return (time.perf_counter() - started) / STEPS * 1e9


def main() -> None:
    """Print a line for each pause."""
    ring = chain()
    follow(ring)
    for pause in PAUSES:
        found = []
        for _ in range(ROUNDS):
            until = time.perf_counter() + pause
            while time.perf_counter() < until:
                pass
            found.append(follow(ring))
        print(f"after {pause * 1e3:4.0f} ms without: {statistics.median(found):5.1f} ns a step")


if __name__ == "__main__":
    main()

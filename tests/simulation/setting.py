"""Settings: how large and how bad a world is, drawn from a seed."""

from sse_app.hub import HubOptions
from tests.simulation.world import World

# How long each copy of a bell takes; None: it waits until the schedule lets it arrive.
LOSSY = ((), (), (0,), (0,), (0,), (0.01,), (0.2,), (0, 0.05), (0, None), (None,), (None,), (None, None))
LATE = ((0,), (0,), (0.01,), (0.2,), (0, 0.05), (0, None), (None,))


def a_world(rng, ticking):
    """Draw a world; one that does not tick loses no bell, and its groups can be joined within a second."""
    world = World(
        seed=rng.random(),
        processes=rng.choice([1, 1, 2, 2, 3]),
        options=HubOptions(
            ring_entries=rng.choice([1, 2, 4, 256]),
            ring_bytes=rng.choice([1500, 2**20]),
            tick=(1.2, 1.6) if ticking else None,
            linger=rng.choice([0.3, 30]),
        ),
        fates=LOSSY if ticking else LATE,
        joins=rng.choice([(), (0, 0.1, 0.5), (0, 0.5, 3)]) if ticking else (0, 0.01, 0.5),
        small={
            "PAGE_ENTRIES": rng.choice([2, 5, 128]),
            "MAX_WAITING_BELLS": rng.choice([1, 3, 64]),
            "MAX_BATCH_BYTES": rng.choice([1000, 3000, 2**18]),
        },
    )
    world.broker.lossy = ticking
    return world

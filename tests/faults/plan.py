"""The plan: who reads what, and how, in every stage."""

from urllib.parse import urlencode

from tests.faults.topics import EPHEMERAL, GAP, LATEST, QUIET

# Where a server tells how often its tails have read the log anew.
REPAIRS = "/faults/repairs/"
# How a reader behaves. ordinary: it stays. restless: it leaves at random moments and comes back with its
# last id. newcomer: it comes back without. stuck: it stops reading while the flag ``hold`` is up.
# absent: it is away meanwhile.
GROUPS = (
    # number, behaviour, signed in, topics
    (14, "ordinary", False, ("notifications",)),
    (6, "ordinary", False, ("notifications", LATEST, EPHEMERAL)),
    (8, "ordinary", True, ("room.a", "room.b", "notifications", "user.1")),
    (4, "ordinary", False, (QUIET, GAP)),
    (3, "ordinary", False, (LATEST,)),
    (2, "ordinary", False, (EPHEMERAL,)),
    (3, "restless", False, ("notifications",)),
    (2, "restless", True, ("user.1", "room.a", LATEST)),
    (2, "newcomer", False, ("notifications", LATEST)),
    (2, "stuck", False, ("demo.trimmed",)),
    (1, "stuck", False, ("demo.oldest",)),
    (2, "absent", False, ("demo.trimmed", "demo.oldest")),
    (1, "absent", False, ("notifications", "demo.trimmed")),
)


def plan(ports, cookie):
    """Give the plan of the readers' process."""
    readers = []
    for count, behaviour, signed_in, topics in GROUPS:
        for _ in range(count):
            # One topic has an address of its own; the stream is the same.
            alone = len(topics) == 1 and len(readers) % 2
            query = urlencode([("topic", topic) for topic in topics])
            readers.append(
                {
                    "number": len(readers),
                    "behaviour": behaviour,
                    "topics": topics,
                    "headers": {"Cookie": cookie} if signed_in else {},
                    "target": f"/sse/topics/{topics[0]}/" if alone else f"/sse/events/?{query}",
                }
            )
    return {"ports": ports, "readers": readers}

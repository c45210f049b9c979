"""Topics of the faults' stages, by what the demo's policy lets everyone or a signed-in user read."""

SSE_TOPICS = {
    "notifications": {"kind": "durable"},
    "room.{name}": {"kind": "durable"},
    "user.{id}": {"kind": "durable"},
    "demo.state": {"kind": "latest"},
    "demo.trimmed": {"kind": "durable"},
    "demo.oldest": {"kind": "durable", "reset_to": "oldest"},
    "demo.quiet": {"kind": "durable"},
    "demo.gap": {"kind": "durable"},
    "demo.{name}": {"kind": "ephemeral"},
}
LATEST = "demo.state"
EPHEMERAL = "demo.tick"
# Only these are trimmed, so that no other topic has a reason for a reset.
TRIMMED = ("demo.trimmed", "demo.oldest")
# Nobody publishes to these but the measurements: the bell that they lose is the last one.
QUIET, GAP = "demo.quiet", "demo.gap"
ORDINARY = ("notifications", "room.a", "room.b", "user.1")
LOGGED = (*ORDINARY, *TRIMMED, QUIET, GAP, LATEST)
# Nothing else is written into these by the demo's own data.
WEIGHTS = {
    "notifications": 5,
    "room.a": 2,
    "room.b": 2,
    "user.1": 2,
    LATEST: 2,
    EPHEMERAL: 3,
    **dict.fromkeys(TRIMMED, 1),
}

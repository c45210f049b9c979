"""Spoiled cursors: what a broken client, a proxy or an attacker may send as Last-Event-ID."""

JUNK = ("junk", "orders=1-9f3a2c1\0", "\ufffd\ufffd", "orders=12-9f3a2c1b" * 3700, "others=1-9f3a2c1b")


def spoiled(cursor, rng, others=()):
    """Spoil a cursor."""
    ways = (_cut_off, _flipped, _shortened, _junk, _forged)
    return rng.choice(ways)(cursor, rng) if rng.random() < 0.8 else rng.choice(list(others) or [cursor])


def _cut_off(cursor, rng):
    return cursor[: rng.randrange(len(cursor) + 1)]


def _flipped(cursor, rng):
    if not cursor:
        return cursor
    place = rng.randrange(len(cursor))
    return cursor[:place] + chr(ord(cursor[place]) ^ 1 << rng.randrange(8)) + cursor[place + 1 :]


def _shortened(cursor, rng):
    parts = cursor.split("&")
    parts.pop(rng.randrange(len(parts)))
    return "&".join(parts)


def _junk(cursor, rng):
    return rng.choice(JUNK)


def _forged(cursor, rng):
    """Claim a position near the own one, with the own tag or another."""
    parts = []
    for part in cursor.split("&"):
        name, _, position = part.partition("=")
        seq, _, tag = position.partition("-")
        if seq.isdecimal():
            tag = rng.choice([tag, "00000000", "9f3a2c1b"])
            part = f"{name}={max(0, int(seq) + rng.choice([-1, 0, 1, 5]))}-{tag}"
        parts.append(part)
    return "&".join(parts)

"""Mutants: mistakes that the app could be changed into, each of which the simulation must find."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A mistake: edits of files, each the old text and the new, and why it breaks a promise."""

    name: str
    why: str
    edits: tuple[tuple[str, str, str], ...]

    def apply(self, root):
        """Make the mistake in a copy of the app."""
        for file, old, new in self.edits:
            path = root / "sse_app" / file
            text = path.read_text()
            if text.count(old) != 1:
                raise LookupError(
                    f"mutant {self.name!r}: {file} has this text {text.count(old)} times, not once; "
                    f"write the mutant anew after a change of the app:\n{old}"
                )
            path.write_text(text.replace(old, new))


def mutant(name, why, *edits):
    return Mutant(name, why, edits)


TAKE = '''take(self) -> Sequence[Item]:
        """Take what follows the position'''

MUTANTS = [
    mutant(
        "doorbell before append",
        "whoever hears the bell finds nothing in the log",
        (
            "publishing.py",
            "        self.append(log)\n        self.ring()\n",
            "        self.ring()\n        self.append(log)\n",
        ),
    ),
    mutant(
        "an await at the splice",
        "between the check that the reader is live and the taking, the ring moves on",
        ("subscription.py", "            items = self._take()\n", "            items = await self._take()\n"),
        ("subscription.py", "    def _take(self)", "    async def _take(self)"),
        ("subscription.py", "_hold_back(self.reader.take())", "_hold_back(await self.reader.take())"),
        ("reader.py", "    def take(self)", "    async def take(self)"),
        ("reader.py", "in self.places[topic].take()]", "in await self.places[topic].take()]"),
        ("place.py", f"    def {TAKE}, from", f"    async def {TAKE}, from"),
        ("place.py", f"    def {TAKE}: from", f"    async def {TAKE}: from"),
        (
            "place.py",
            "            return ()\n        return self._take_from_ring()\n",
            """            return ()
        live = self.position is not None and self.tail.ring.holds(self.position)
        await asyncio.sleep(0)
        if live and type(self) is DurablePlace:
            entries = self.tail.ring._entries.values()
            return self._advance([e for e in entries if e.position.seq > self.position.seq])
        return self._take_from_ring()
""",
        ),
    ),
    mutant(
        "the tag is not compared by a page",
        "a log that was undone and has grown again is taken for the one that was read",
        ("entries.py", "if proof != position.tag:", "if False:"),
        ("entries.py", "or entry.prev != position.tag:", "or False:"),
    ),
    mutant(
        "the tag is not compared by the ring",
        "a reader of another past is taken for live",
        (
            "ring.py",
            "return entry is not None and entry.position == position",
            "return entry is not None",
        ),
        ("ring.py", "if position == self.base:", "if position.seq == self.base.seq:"),
    ),
    mutant(
        "the ring does not check the chain",
        "a bell of an undone log is spliced into the new one",
        ("ring.py", " or entry.prev != self.last.tag:", ":"),
    ),
    mutant(
        "the ring accepts gaps",
        "a lost bell is a lost event",
        (
            "ring.py",
            "if entry.position.seq != self.last.seq + 1 or entry.prev != self.last.tag:",
            "if entry.position.seq <= self.last.seq:",
        ),
        ("ring.py", "self._entries.pop(self.base.seq + 1)", "self._entries.pop(next(iter(self._entries)))"),
        (
            "ring.py",
            "return [self._entries[seq] for seq in range(position.seq + 1, self.last.seq + 1)]",
            "return [e for seq, e in self._entries.items() if seq > position.seq]",
        ),
    ),
    mutant(
        "a repair per reader",
        "ten thousand readers of one gap ask the log ten thousand times",
        (
            "tail.py",
            "        if self._repairing is None:\n            self._rep",
            "        if True:\n            self._rep",
        ),
    ),
    mutant(
        "no distrust of old bells",
        "events of the undone log come back after the reset",
        (
            "tail.py",
            "if entry is not None and trusted and self._take(entry):",
            "if entry is not None and self._take(entry):",
        ),
    ),
    mutant(
        "bells that come while a tail is busy are dropped",
        "without the tick an event waits for the next bell",
        ("tail.py", "                self._waiting.append(bell)\n", "                pass\n"),
    ),
    mutant(
        "no second read after too many bells",
        "without the tick the events of the bells that found no room wait for the next one",
        (
            "tail.py",
            "            else:\n                self._read_again = True\n            return\n",
            "            return\n",
        ),
    ),
    mutant(
        "a repair reads one page",
        "without the tick a tail that was far behind stays behind",
        ("tail.py", "        self._read_again |= bool(answer.entries) and self.ring.last != page.head\n", ""),
    ),
    mutant(
        "a jump to the head instead of a reset",
        "events are lost in silence",
        (
            "place.py",
            "return goes_on_at, [Reset(self.tail.topic, reason, count, goes_on_at)]",
            "return goes_on_at, []",
        ),
    ),
    mutant(
        "the ring refutes a position",
        "a reader that only fell out of the ring is reset, though the log could prove its position",
        (
            "place.py",
            "        if entries is None:\n            self._ask()\n            return ()\n",
            "        if entries is None:\n            self.position = self.tail.ring.last\n"
            "            return [Reset(self.tail.topic, Reason.FORKED, None, self.position)]\n",
        ),
    ),
    mutant(
        "a head that the ring holds is no news",
        "a log that was restored from a backup is not noticed",
        ("tail.py", "or head == self.ring.last or", "or self.ring.holds(head) or"),
    ),
    mutant(
        "the tick does not ask whether the tail has moved",
        "under load every tick repairs every tail",
        ("tail.py", " or moves != self.moves:", ":"),
    ),
    mutant(
        "a tail that does not wait for its group",
        "what is published between the read of the head and the joining is not heard",
        (
            "hub.py",
            "        await asyncio.wait({joining}, timeout=JOIN_SECONDS)",
            "        await asyncio.wait({joining}, timeout=0)",
        ),
    ),
    mutant(
        "an older value without a fresh read",
        "a process that is behind shows an old value for the newest one",
        (
            "place.py",
            "            self._ask()  # not newer than what the reader has: only the log can tell\n",
            "            self.position = last\n            return [newest] if newest else ()\n",
        ),
    ),
    mutant(
        "a read in two statements",
        "head and entries are not of one moment",
        (
            "eventlog/memory.py",
            "            entries = list(self._entries.get(topic, ()))\n"
            "            head = self._heads.get(topic, GENESIS)\n        start =",
            "            head = self._heads.get(topic, GENESIS)\n"
            "        await __import__('asyncio').sleep(0.02)\n"
            "        entries = list(self._entries.get(topic, ()))\n        start =",
        ),
    ),
    mutant(
        "an unreadable cursor is none",
        "a client that has lost its place is not told",
        (
            "start.py",
            "return {topic: Start(unknown=True) for topic in topics}",
            "return {topic: Start() for topic in topics}",
        ),
    ),
    mutant(
        "a new reader does not stop the teardown",
        "a tail is dropped under its readers, who hear nothing more",
        (
            "tail.py",
            "        self.readers[reader] = None\n        self.idle_since = None\n",
            "        self.readers[reader] = None\n",
        ),
    ),
    mutant(
        "a ring without bounds",
        "a busy topic eats the memory of the process",
        ("ring.py", "while len(self._entries) > self._max_entries or", "while"),
    ),
    mutant(
        "a lag is counted wrong",
        "a reader of an ephemeral topic does not know how much it has missed",
        ("place.py", "ring.base.seq - self.position.seq)]", "ring.last.seq - self.position.seq)]"),
    ),
    mutant(
        "the priming claims an unproven place",
        "a client that is cut before its reset comes back as if nothing had happened",
        (
            "subscription.py",
            "            if position is None and self.rules[topic].kind is not TopicKind.EPHEMERAL:\n"
            "                return None\n",
            "            pass\n",
        ),
    ),
]

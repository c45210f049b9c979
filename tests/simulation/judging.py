"""The judge: what one client may be told, by the contract and the whole past of the log."""

from itertools import dropwhile

from sse_app.positions import GENESIS, Position
from sse_app.topics import ResetTo, TopicKind
from tests.simulation.past import Violation

# Where a stream without a cursor begins is for the server to say.
ANYWHERE = Position(-1, "")


class Judge:
    """Follows the positions of one client, and raises Violation for what it must not be told.

    ``hides`` says of an event's data whether the policy's filter keeps it from this client.
    """

    def __init__(self, world, topics, hides=None):
        self._world = world
        self._past = world.past
        self._topics = topics
        self._hides = hides
        self._process = None
        self.positions = {}
        self._primed = False
        self._wants_the_past = False
        self._doubted = set()
        self._news = set()
        self._since = {}
        self._told_at = {}
        self._heard = {}

    def connected(self, process, given, cursor, wants_the_past):
        """A stream begins, for a client that has sent what was ``given``, read as ``cursor``."""
        self._process = process
        self._primed = False
        self._wants_the_past = wants_the_past and not given
        foreign = given and (cursor is None or cursor.keys().isdisjoint(self._topics))
        self.positions, self._doubted = {}, set()
        for topic in self._topics:
            kind = self._world.kind(topic)
            claimed = cursor.get(topic) if cursor and not foreign else None
            if kind is TopicKind.LATEST:
                self.positions[topic] = claimed or GENESIS
            elif kind is TopicKind.DURABLE:
                self.positions[topic] = claimed or ANYWHERE
                if foreign or (cursor and topic in cursor and not claimed):
                    self._doubted.add(topic)
        self._tell(self.positions)

    def end_of_block(self):
        """What stood in one block was taken at once; what comes next was found out since."""
        self._tell(self._news)
        self._news = set()

    def prime(self):
        """The client is told its cursor; at first that is where the stream begins."""
        if not self._primed:
            self._primed = True
            heard = self._process.ephemeral
            self._heard = {topic: len(heard.get(topic, ())) for topic in self._topics}

    def lag(self, told):
        """So many events of an ephemeral topic are passed over."""
        self._heard[told["topic"]] += told["missed"]

    def check_that_it_is_up_to_date(self):
        """Check that nothing is outstanding, when there has been time enough."""
        if not self._primed:
            raise Violation(f"the stream of {self._topics} has not begun")
        for topic, position in self.positions.items():
            state = self._past.now(topic)
            if position == ANYWHERE or state.head in self._may_stand_at(topic):
                continue
            if self._world.is_latest(topic) and self._has_no_value(topic, state.head):
                continue
            raise Violation(f"{topic} stands at {state.head}, but the client at {position}")

    def reset(self, told, cursor):
        """Check that the log could not prove the position at some moment since it was last told."""
        topic, at = told["topic"], cursor[told["topic"]] if cursor else ANYWHERE
        if topic in self._doubted:
            self._doubted.discard(topic)
            if (told["reason"], told["missed"]) != ("unknown", None):
                raise Violation(f"{told} is said of a cursor that can't be read")
        elif not any(self._is_true(told, before, at) for before in self._may_stand_at(topic)):
            raise Violation(f"{told}, on to {at}, is not true of {self.positions[topic]}")
        self.positions[topic] = at
        self._news.add(topic)

    def _is_true(self, told, before, at):
        topic, reason, missed = told["topic"], told["reason"], told["missed"]
        states = list(self._past.since(topic, self._since[topic]))
        if reason not in [state.reason(before) for state in states]:
            return False
        if at == ANYWHERE:  # other topics of the stream wait for their resets
            return True
        oldest = self._world.rule(topic).reset_to is ResetTo.OLDEST
        if at not in [state.before if oldest else state.head for state in states]:
            return False
        return missed == (at.seq - before.seq if reason == "trimmed" and at.seq >= before.seq else None)

    def _may_stand_at(self, topic):
        """Give the positions at which the server may have this client: some events are hidden from it."""
        position = self.positions[topic]
        return self._past.beyond(topic, position, self._hides) if self._hides else [position]

    def event(self, data, cursor):
        topic = next(iter(cursor)) if cursor else None
        if topic and cursor[topic]:
            fact = self._past.facts.get((topic, cursor[topic]))
        else:
            fact = self._past.by_data(data)
        if fact is None:
            return self._ephemeral_event(topic, data)
        if fact.data != data:
            raise Violation(f"{fact.position} carries {data!r}, not {fact.data!r}")
        if topic is None and not self._doubted:
            raise Violation(f"{data!r} has no id, though every position is known")
        if self._world.is_latest(fact.topic):
            self._check_value(fact)
        else:
            self._check_chain(fact)
        tail = self._process.hub.tails.get(fact.topic)
        if self._world.undoing.knew(tail, fact.position, self._told_at[fact.topic]):
            raise Violation(f"{fact.topic} {fact.position} comes from a log known to be undone")
        self.positions[fact.topic] = fact.position
        self._news.add(fact.topic)

    def _check_chain(self, fact):
        last, before = self.positions[fact.topic], Position(fact.position.seq - 1, fact.prev)
        if fact.topic in self._doubted:
            raise Violation(f"{fact.topic} {fact.position} comes before the reset of an unreadable cursor")
        if last != ANYWHERE and before not in self._may_stand_at(fact.topic):
            raise Violation(f"{fact.topic} {fact.position} (after {fact.prev}) came after {last}")

    def _check_value(self, fact):
        """Check that a value that is not newer was the log's, or newer than what the log had, since."""
        last, seq = self.positions[fact.topic], fact.position.seq
        if seq > last.seq:
            return
        states = reversed(list(self._past.since(fact.topic, self._since[fact.topic])))
        heads = [state.head for state in states]
        if not self._hides:  # else one of an undone log may have been hidden meanwhile
            heads = list(dropwhile(last.__eq__, heads))
        if fact.position not in heads and all(head.seq >= seq for head in heads):
            raise Violation(f"the value {fact.topic} {fact.position} came after {last}, without a fresh look")

    def _has_no_value(self, topic, head):
        """Whether there is, or was meanwhile, no value to be had, or none for this client."""
        if self._hides and head != GENESIS and self._hides(self._past.facts[topic, head].data):
            return True
        states = self._past.since(topic, self._since[topic])
        return any(state.head == head and not state.entries for state in states)

    def _ephemeral_event(self, topic, data):
        heard = self._process.ephemeral
        topic = topic or next((name for name in heard if data in heard[name]), None)
        coming = heard.get(topic, [])[self._heard.get(topic, 0) :]
        passed = coming.index(data) if self._hides and data in coming else 0
        if coming[passed : passed + 1] != [data]:
            raise Violation(f"{data!r} on {topic} is not what came next")
        self._heard[topic] += passed + 1

    def check_cursor(self, id, cursor):
        """Check that the id says of every topic what the client has been told."""
        if not cursor:
            if id is not None or not self._doubted:
                raise Violation(f"{id!r} is no cursor")
            return
        if set(cursor) != set(self._topics):
            raise Violation(f"the cursor {id} is not one of {self._topics}")
        for topic, position in self.positions.items():
            at = cursor[topic]
            begins = position == ANYWHERE and at is not None and self._may_begin(topic, at)
            is_hidden = self._hides and self._world.is_latest(topic)
            if not begins and not is_hidden and at not in self._may_stand_at(topic):
                raise Violation(f"the cursor says {at} of {topic}, the client was told {position}")
            self.positions[topic] = at

    def _may_begin(self, topic, at):
        """Whether a stream may begin there: where the log once stood, or just before all it kept."""
        since = self._since[topic]
        if self._wants_the_past and self._past.undone_at <= since:
            return at in [state.before for state in self._past.since(topic, since)]
        return self._past.known(topic, at)

    def _tell(self, topics):
        """Note when the client was told of topics: what it hears next was found out since."""
        self._since |= dict.fromkeys(topics, self._past.moment)
        self._told_at |= dict.fromkeys(topics, self._world.turn())

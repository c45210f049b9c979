"""A small world on virtual time: processes that share a log, bells that get lost, clients that check.

Everything but the channel layer and the sockets is the shipped code. The world keeps the log's whole
past, against which its clients check all that they are told.
"""

import asyncio
import random
from itertools import count

from sse_app import outbox, place, publishing, tail
from sse_app.conf import topic_rules
from sse_app.doorbell import Doorbell
from sse_app.eventlog import memory
from sse_app.hub import HubOptions
from sse_app.topics import TopicKind
from tests.simulation.broker import Broker
from tests.simulation.client import Client
from tests.simulation.log import Faults, UndoableLog
from tests.simulation.past import Violation
from tests.simulation.process import Process
from tests.simulation.undoing import Undoing

TOPICS = {
    "orders": {},
    "alerts": {},
    "replayed": {"reset_to": "oldest"},
    "config": {"kind": "latest"},
    "ticks": {"kind": "ephemeral"},
}
AT_ONCE = ((0,),)


class World:
    """Processes, one log, the bells between them, and the clients.

    ``small`` makes pages, batches and queues so small that their ends are met all the time.
    """

    def __init__(self, *, processes=1, seed=0, options=None, fates=AT_ONCE, joins=(), small=None):
        self.rng = random.Random(seed)
        self.options = options or HubOptions()
        self.joins = joins
        self.log = UndoableLog()
        self.past = self.log.past
        self.faults = Faults()
        self.undoing = Undoing(self)
        self.clients = []
        self.bells = []
        self.blamed = []
        self.say = None
        self.published = 0
        self._turns = count(1)
        self._rules = {}
        self.broker = Broker(self, fates)
        self._replaced = []
        self._replace_parts(small or {})
        self.processes = [Process(self) for _ in range(processes)]
        self.processes[0].loop.set_exception_handler(self._unhandled)

    @property
    def hubs(self):
        return [process.hub for process in self.processes]

    @property
    def reads(self):
        """Count the reads of the log, but for those of heads."""
        return sum(process.log.reads for process in self.processes)

    def rule(self, topic):
        if topic not in self._rules:
            self._rules[topic] = topic_rules().rule(topic)
        return self._rules[topic]

    def kind(self, topic):
        return self.rule(topic).kind

    def is_latest(self, topic):
        return self.kind(topic) is TopicKind.LATEST

    def head(self, topic="orders"):
        return self.past.now(topic).head

    def publish(self, topic="orders", data=None, *, ring=True, batch=1, process=None, key=None):
        """Publish by the shipped code, in one of the processes, or in a program of its own.

        Without ``ring`` the program dies before it has rung.
        """
        texts = [data or str(self.published + number) for number in range(batch)]
        self.published += batch
        self._publisher = None if process is None else self.processes[process]
        self._ringing = ring
        if self.kind(topic) is TopicKind.EPHEMERAL:  # on commit: that would ask the database
            for text in texts:
                self._send_ephemeral(Doorbell(topic, data=text))
            return None
        extra = (None, key) if key else ()
        return publishing.publish_many([(topic, text, *extra) for text in texts])[-1]

    def client(self, *topics, process=0, **options):
        client = Client(self, topics or ("orders",), **options)
        client.connect(process)
        self.clients.append(client)
        return client

    async def calm_down(self):
        """End the faults: within three seconds every client that is connected must be up to date."""
        vars(self.faults).update(vars(Faults()))
        for client in self.clients:
            client.go_on()
        await asyncio.sleep(3)
        self.check()
        for client in self.clients:
            if client.connected:
                client.check_that_it_is_up_to_date()

    def blame(self, text):
        """Note a broken promise where raising would only be taken for one more fault."""
        self.blamed.append(text)

    def check(self):
        """Raise for every promise that is seen to be broken by now."""
        if self.blamed:
            raise Violation(self.blamed[0])
        for client in self.clients:
            client.check()
        for process in self.processes:
            self._check_memory(process)

    async def restart(self, index):
        """Kill a process and start it again: its streams are cut, and it knows nothing."""
        process = self.processes[index]
        for client in self.clients:
            if client.process is process:
                await client.disconnect()
        await process.close()
        self.processes[index] = Process(self)

    async def close(self):
        try:
            for client in self.clients:
                await client.disconnect()
            for process in self.processes:
                await process.close()
        finally:
            self._put_back()

    def time(self):
        return self.processes[0].loop.time()

    def turn(self):
        """Number what happens, for virtual time often stands still."""
        return next(self._turns)

    def _here(self):
        return [self._publisher] if self._publisher and self._ringing else []

    def _send_ephemeral(self, bell):
        for process in self._here():
            process.ring(bell)
        self.broker.send(bell, self._publisher)

    def _sent(self, bell, loop):
        """Stand in for the outbox."""
        if bell.position is None or not self.past.known(bell.topic, bell.position):
            self.blame(f"the bell of {bell.topic} {bell.position} rings before its event is in the log")
        self.bells.append(bell)
        if self._ringing:
            self.broker.send(bell, self._publisher)

    def _check_memory(self, process):
        sizes = []
        for topic, its in process.hub.tails.items():
            if len(its.ring) > self.options.ring_entries:
                raise Violation(f"the ring of {topic} holds {len(its.ring)} entries")
            sizes.append([entry.size for entry in its.ring.after(its.ring.base)])
        used = sum(map(sum, sizes))
        excess = sum(max(ring) for ring in sizes if ring)  # each ring keeps its newest entry
        if used > self.options.ring_bytes + excess:
            raise Violation(f"the rings of a process hold {used} bytes")

    def _unhandled(self, loop, context):
        self.blame(f"{context['message']}: {context.get('exception')!r}")

    def _replace_parts(self, small):
        """Put the world's parts in the place of those of a site."""
        replace = self._replace
        replace(publishing, "get_event_log", lambda: self.log)
        replace(publishing, "hubs", self._here)
        replace(outbox, "send", self._sent)
        replace(memory, "new_tag", lambda: f"{self.rng.getrandbits(32):08x}")
        for name, value in small.items():
            for module in (tail, place):
                if hasattr(module, name):
                    replace(module, name, value)
        for kind in (tail.DurableTail, tail.LatestTail):
            replace(kind, "_apply", self.undoing.watching(kind._apply))

    def _replace(self, owner, name, new):
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def _put_back(self):
        while self._replaced:
            setattr(*self._replaced.pop())

"""The channel layer between the processes: bells come at once, late, twice, or never."""

from typing import NamedTuple

# Older messages have expired.
EXPIRY = 60.0
KEPT = 60


class Flight(NamedTuple):
    """A bell on its way to a process."""

    bell: object
    process: object
    sent_at: float


class Broker:
    """Carries bells as ``fates`` has it: how many seconds each copy takes, None: until it is asked for."""

    def __init__(self, world, fates):
        self._world = world
        self._fates = fates
        self.late = []
        self.lossy = True

    def send(self, bell, sender):
        """Carry a bell to all processes but the sender's."""
        for process in self._world.processes:
            if process is not sender:
                for delay in self._world.rng.choice(self._fates):
                    self._carry(Flight(bell, process, process.loop.time()), delay)

    def fitting(self):
        """Give the late bells that would continue a ring just now: those that may do most harm."""
        return [flight for flight in self._usable() if self._fits(flight)]

    def deliver(self, flight, *, again=False):
        """Let a late bell arrive; ``again``: a copy of it is still on its way."""
        if not again:
            self.late.remove(flight)
        if flight.process in self._world.processes:
            flight.process.hear_from_afar(flight.bell)

    def deliver_all(self):
        for flight in self._usable():
            self.deliver(flight)

    def _carry(self, flight, delay):
        hear, bell = flight.process.hear_from_afar, flight.bell
        if delay == 0:  # timers of one moment have no order among them
            flight.process.loop.call_soon(hear, bell)
        elif delay is not None:
            flight.process.loop.call_later(delay, hear, bell)
        else:
            self.late.append(flight)
            if self.lossy:
                del self.late[:-KEPT]

    def _usable(self):
        self.late = [flight for flight in self.late if flight.process.loop.time() < flight.sent_at + EXPIRY]
        return list(self.late)

    def _fits(self, flight):
        tail = flight.process.hub.tails.get(flight.bell.topic)
        return tail is not None and flight.bell.prev == tail.ring.last.tag

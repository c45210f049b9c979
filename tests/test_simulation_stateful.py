"""The same world driven by Hypothesis, which shrinks what it finds to a short story."""

import asyncio
import logging
import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sse_app.hub import HubOptions
from tests.clock import VirtualTimeLoop
from tests.simulation.log import Faults
from tests.simulation.spoiling import JUNK
from tests.simulation.world import TOPICS, World

STEPS = 40
FIXED = settings(
    max_examples=300,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
FRESH = settings(FIXED, max_examples=100, derandomize=False, print_blob=True)

STREAMS = (("orders",), ("replayed",), ("config",), ("orders", "config", "ticks"))
LOGS = {
    "well": Faults(),
    "out of reach": Faults(failing=True),
    "slow": Faults(delays=(0.05,)),
    "uneven": Faults(fail_rate=0.5, delays=(0, 0.01, 0.3)),
}
# Which client, process or bell, of those that there are.
any_of_them = st.integers(0, 4)
processes = st.sampled_from([None, 0, 1])
pauses = st.sampled_from([0, 0.01, 0.05])
topics = st.sampled_from(sorted({topic for stream in STREAMS for topic in stream}))


def one_of(things, number):
    return things[number % len(things)]


class Delivery(RuleBasedStateMachine):
    """Two processes with small rings; a bell for the other process waits until a rule lets it go."""

    def __init__(self):
        super().__init__()
        random.seed(0)  # for the jitter of the tick
        self.loop = VirtualTimeLoop()
        self.loop.set_debug(False)
        self.sound = True
        self.do(self.begin)

    async def begin(self):
        self.world = World(
            processes=2,
            options=HubOptions(ring_entries=3, linger=1),
            fates=((None,),),
            small={"PAGE_ENTRIES": 3, "MAX_WAITING_BELLS": 2, "MAX_BATCH_BYTES": 1500},
        )
        self.backup = self.world.log.snapshot()

    def do(self, action, *args, **options):
        """Let something happen in the loop, and what follows at once."""

        async def act():
            result = action(*args, **options)
            if asyncio.iscoroutine(result):
                await result
            await asyncio.sleep(0)

        try:
            self.loop.run_until_complete(act())
        except BaseException:
            self.sound = False
            raise

    @initialize(streams=st.lists(st.sampled_from(STREAMS), min_size=1, max_size=2))
    def some_read_already(self, streams):
        for process, stream in enumerate(streams):
            self.do(self.world.client, *stream, process=process)
        self.do(asyncio.sleep, 0.05)

    # Events and their bells. Hypothesis draws every rule as often: what is rare shares one.

    @rule(topic=topics, process=processes, batch=st.sampled_from([1, 1, 2, 5]), then=pauses)
    def publish(self, topic, process, batch, then):
        self.do(self.world.publish, topic, process=process, batch=batch)
        self.do(asyncio.sleep, then)

    @rule(process=processes, then=pauses)
    def publish_an_order(self, process, then):
        self.publish("orders", process, 1, then)

    @precondition(lambda self: self.world.broker.late)
    @rule(bell=st.integers(0, 20), again=st.booleans())
    def a_bell_arrives(self, bell, again):
        broker = self.world.broker
        self.do(broker.deliver, one_of(broker.late, bell), again=again)

    @precondition(lambda self: self.world.broker.fitting())
    @rule(bell=st.integers(0, 3))
    def a_bell_arrives_that_fits(self, bell):
        """One that continues a ring just now does most harm, if it is an old one."""
        broker = self.world.broker
        self.do(broker.deliver, one_of(broker.fitting(), bell), again=True)

    # Readers.

    @precondition(lambda self: len(self.world.clients) < 4)
    @rule(stream=st.sampled_from(STREAMS), process=st.integers(0, 1))
    def comes(self, stream, process):
        self.do(self.world.client, *stream, process=process)

    @rule(client=any_of_them, process=st.integers(0, 1))
    def goes_or_comes_back(self, client, process):
        its = one_of(self.world.clients, client)
        if its.connected:
            self.do(its.disconnect)
        else:
            self.do(its.connect, process)

    @rule(client=any_of_them, process=st.integers(0, 1))
    def opens_a_second_tab(self, client, process):
        first = one_of(self.world.clients, client)
        if len(self.world.clients) < 4:
            self.do(self.world.client, *first.topics, process=process, cursor=first.last_event_id)

    @rule(client=any_of_them, keeps=st.integers(0, 60), junk=st.sampled_from([None, *JUNK]))
    def spoils_its_cursor(self, client, keeps, junk):
        its = one_of(self.world.clients, client)
        if not its.connected:
            its.last_event_id = its.last_event_id[:keeps] if junk is None else junk

    @rule(client=any_of_them, how=st.sampled_from(["stall", "go_on", "cut_in_the_next_block"]))
    def reads_badly(self, client, how):
        self.do(getattr(one_of(self.world.clients, client), how))

    # The log, the processes, and time.

    @rule(topic=topics, client=any_of_them, off=st.integers(0, 2))
    def trim(self, topic, client, off):
        at = one_of(self.world.clients, client).positions.get(topic)
        self.do(self.world.log.cut, topic, max(0, at.seq if at else 0) + off)

    @rule(how=st.sampled_from(["back up", "restore", "wipe"]))
    def the_log_is_undone(self, how):
        log = self.world.log
        if how == "back up":
            self.backup = log.snapshot()
        else:
            self.do(*([log.wipe] if how == "wipe" else [log.restore, self.backup]))

    @rule(how=st.sampled_from(sorted(LOGS)))
    def the_log_is(self, how):
        vars(self.world.faults).update(vars(LOGS[how]))

    @rule(process=st.integers(0, 1), how=st.sampled_from(["restarted", "forgotten by the broker"]))
    def a_process_is(self, process, how):
        if how == "restarted":
            self.do(self.world.restart, process)
        else:
            self.world.processes[process].group.evict()

    @rule(seconds=st.sampled_from([0.02, 0.3, 2]))
    def wait(self, seconds):
        self.do(asyncio.sleep, seconds)

    @rule(bells=st.booleans())
    def calm_down(self, bells):
        if bells:
            self.do(self.world.broker.deliver_all)
        self.do(self.world.calm_down)

    @invariant()
    def no_promise_is_broken(self):
        self.do(self.world.check)

    def teardown(self):
        try:
            if self.sound:
                self.calm_down(bells=True)
        finally:
            self.loop.run_until_complete(self.close())
            self.loop.close()

    async def close(self):
        try:
            await self.world.close()
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = TOPICS
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [FIXED, FRESH], ids=["fixed", "fresh"])
def test_what_hypothesis_thinks_of_keeps_every_promise(how):
    run_state_machine_as_test(Delivery, settings=how)

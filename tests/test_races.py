"""Races of the delivery contract, one named test each; those of SQL: ``test_races_sql``."""

import asyncio
from itertools import product

import pytest

from sse_app.hub import HubOptions
from tests.simulation.scenario import NO_TICK, settle, world
from tests.simulation.world import TOPICS

FEW = {"PAGE_ENTRIES": 3, "MAX_BATCH_BYTES": 1000}
SLOW = (0.05,)


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = TOPICS


async def reader_that_was_away(world, missed, topic="orders"):
    """Give a client that has seen one event, and has missed some."""
    client = world.client(topic)
    await settle(2)  # a group may take its time
    world.publish(topic)
    await settle(2)
    await client.disconnect()
    for _ in range(missed):
        world.publish(topic)
    await settle()
    return client


def numbers(*parts):
    return [str(number) for part in parts for number in part]


# Beginning.


@pytest.mark.parametrize("when", [0, 0.005, 0.0199, 0.02, 0.0201, 0.03, 0.07, 0.11])
def test_publish_between_group_add_and_the_log_read(when):
    @world(processes=2, options=NO_TICK)
    async def play(world):
        client = await reader_that_was_away(world, 2)
        world.faults.delays = SLOW
        client.connect(process=1)
        await settle(when)
        world.publish()
        await settle(1)
        assert client.data == numbers(range(4))

    play()


@world(processes=2, options=NO_TICK, joins=(0.5,))
async def test_publish_before_group_add_is_acknowledged(world):
    """Its bell is not heard; but the log is read only after the process has joined."""
    client = await reader_that_was_away(world, 0)
    await settle(1)
    client.connect(process=1)
    await settle(0.3)
    world.publish()
    await settle(1)
    assert client.data == numbers(range(2))


@world(processes=2, joins=(5,))
async def test_publish_while_the_group_can_not_be_joined(world):
    """The broker hangs: after a second the tail starts without it, and the tick must do."""
    client = await reader_that_was_away(world, 0)
    client.connect(process=1)
    await settle(2)
    world.publish()
    await settle(2)
    assert client.data == numbers(range(2))


@world(options=NO_TICK, small={"MAX_WAITING_BELLS": 2})
async def test_more_bells_than_can_wait_while_a_tail_starts(world):
    """Between the read of the head and its answer come more bells than find room."""
    client = await reader_that_was_away(world, 0)
    await world.restart(0)
    world.faults.delays = SLOW
    client.connect()
    await settle(0.1)  # the head has been read, and its answer is on its way
    for _ in range(5):
        world.publish()
    await settle(1)
    assert client.data == numbers(range(6))


# Catching up.


@pytest.mark.parametrize("when", [0, 0.01, 0.04, 0.06, 0.09, 0.11, 0.14, 0.16, 0.21])
def test_publish_between_the_last_page_and_the_splice(when):
    @world(options=HubOptions(ring_entries=2, tick=None), small=FEW)
    async def play(world):
        client = await reader_that_was_away(world, 5)
        world.faults.delays = SLOW
        client.connect()
        await settle(when)
        world.publish()
        await settle(1)
        assert client.data == numbers(range(7))
        assert client.resets == []

    play()


@pytest.mark.parametrize("when", [0.04, 0.06, 0.11, 0.16])
def test_overflow_exactly_at_the_splice(when):
    @world(options=HubOptions(ring_entries=2, tick=None), small=FEW)
    async def play(world):
        client = await reader_that_was_away(world, 4)
        world.faults.delays = SLOW
        client.connect()
        await settle(when)
        for _ in range(6):
            world.publish()
        await settle(2)
        assert client.data == numbers(range(11))
        assert client.resets == []

    play()


@world(options=HubOptions(ring_entries=2), small=FEW)
async def test_the_log_is_trimmed_between_pages(world):
    client = await reader_that_was_away(world, 20)
    world.faults.delays = SLOW
    client.connect()
    await settle(0.25)
    got = len(client.data)
    assert 1 < got < 10
    world.log.cut("orders", 19)
    await settle(1)
    reset, *more = client.resets
    assert (reset["reason"], more) == ("trimmed", [])
    assert len(client.data) + reset["missed"] == 21


@world(options=HubOptions(ring_entries=2), small=FEW)
async def test_the_log_fails_in_mid_page_and_between_pages(world):
    client = await reader_that_was_away(world, 20)
    world.faults.delays, world.faults.fail_rate = (0, 0.01), 0.5
    client.connect()
    await settle(20)
    world.faults.fail_rate = 0
    await settle(2)
    assert client.data == numbers(range(21))
    assert client.resets == []


@world(processes=2, options=HubOptions(ring_entries=2), small=FEW)
async def test_a_reader_that_never_reads_holds_one_batch(world):
    stalled, quick = world.client(process=0), world.client(process=0)
    await settle()
    stalled.stall()
    for _ in range(300):
        world.publish(data="x" * 100 + str(world.published))
        await settle(0.001)
    await settle(5)
    assert len(quick.data) == 300
    assert len(stalled.data) <= 1
    assert len(world.hubs[0].tails["orders"].ring) == 2
    stalled.go_on()
    await settle(5)
    assert stalled.data == quick.data


# Bells.


@pytest.mark.parametrize("copies", list(product([0, 1, 2], repeat=3)), ids=str)
def test_every_subset_of_doorbells_dropped_or_doubled(copies):
    """The last one included: within three seconds the tick has found what no bell has told."""

    @world(processes=2)
    async def play(world):
        clients = [world.client(process=process) for process in (0, 1)]
        await settle()
        for count in copies:
            world.publish(ring=False)
            for _ in range(count):
                for hub in world.hubs:
                    hub.hint(world.bells[-1])
            await settle(0.01)
        await settle(3)
        assert [client.data for client in clients] == [numbers(range(3))] * 2

    play()


@world(processes=2, fates=((None,),), options=NO_TICK)
async def test_two_publishers_whose_bells_overtake_each_other(world):
    client = world.client(process=0)
    await settle()
    for _ in range(3):
        world.publish(process=1)
        world.publish(process=None)
    for flight in reversed(world.broker.late):
        world.broker.deliver(flight, again=True)
        await settle(0.01)
    assert client.data == numbers(range(6))


# Logs that are undone, while a reader is live.


@pytest.mark.parametrize("how", ["wiped", "restored"])
@pytest.mark.parametrize("grown", [0, 1, 3, 9])
def test_an_undone_log_is_noticed_live_also_when_it_has_grown_past_the_reader(how, grown):
    @world()
    async def play(world):
        client = world.client()
        await settle()
        for number in range(8):
            world.publish()
            if number == 4:
                backup = world.log.snapshot()
        await settle()
        if how == "wiped":
            world.log.wipe()
        else:
            world.log.restore(backup)
        for _ in range(grown):
            world.publish(ring=False)
        await settle(3)
        assert len(client.resets) == 1
        world.publish(data="goes on")
        await settle()
        assert client.data == [*numbers(range(8)), "goes on"]

    play()


@world(processes=2, fates=((None,),))
async def test_an_old_bell_of_an_undone_log_is_not_believed_once_that_is_known(world):
    client = world.client(process=0)
    await settle()
    for _ in range(3):
        world.publish(process=1)
    old = list(world.broker.late)
    world.broker.deliver_all()
    await settle()
    world.log.wipe()
    await settle(3)
    assert len(client.resets) == 1
    for flight in old:  # each would continue the ring, one after the other
        world.broker.deliver(flight._replace(), again=True)
        await settle()
    assert client.data == numbers(range(3))
    assert len(client.resets) == 1


@world(processes=2, fates=((None,),))
async def test_an_old_bell_does_not_bring_back_an_old_value(world):
    client = world.client("config", process=0)
    await settle()
    for _ in range(5):
        world.publish("config", process=1)
    old = list(world.broker.late)
    await settle(2)
    world.log.wipe()
    world.publish("config", "new", process=1)
    await settle(3)
    world.broker.deliver(old[-1])  # of seq 5, where the log stands at 1
    await settle(3)
    assert client.data == ["4", "new"]


@world(processes=2)
async def test_the_log_is_wiped_while_a_trimmed_reader_looks_for_the_oldest_event(world):
    """What the second read shows can't be counted from a position of another log."""
    client = await reader_that_was_away(world, 9, "replayed")
    world.log.cut("replayed", 6)
    world.faults.delays = SLOW
    client.connect(process=1)
    await settle(0.25)
    world.log.wipe()
    await settle(1)
    (reset,) = client.resets
    assert reset["missed"] is None


# Coming and going.


@world(fates=((None,),), processes=2, options=HubOptions(linger=1))
async def test_the_last_reader_leaves_while_a_doorbell_is_in_flight(world):
    client = world.client(process=0)
    await settle()
    world.publish(process=1)
    await client.disconnect()
    await settle(3)
    assert not world.hubs[0].tails
    world.broker.deliver_all()
    client.connect()
    await settle()
    assert client.data == numbers(range(1))


@world(options=HubOptions(linger=0.5), joins=(0, 0.05))
async def test_a_new_reader_comes_while_the_tail_is_taken_down_in_mid_repair(world):
    client = world.client()
    await settle()
    for _ in range(30):
        world.faults.delays = SLOW
        world.publish(ring=False)
        world.publish()
        await client.disconnect()
        await settle(world.rng.uniform(0.4, 2.2))
        client.connect()
        await settle(world.rng.uniform(0, 0.2))
    await settle(3)
    assert client.data == numbers(range(60))


@pytest.mark.parametrize("fraction", [0, 0.3, 0.6, 0.99])
def test_the_client_is_cut_in_mid_event(fraction):
    @world()
    async def play(world):
        client = world.client("orders", "alerts")
        await settle()
        client.cut_in_the_next_block(fraction)
        for topic in ("orders", "alerts", "orders"):
            world.publish(topic)
        await settle()
        world.check()
        assert not client.connected
        client.connect()
        await settle()
        assert sorted(client.data) == numbers(range(3))

    play()


@world(processes=2)
async def test_two_processes_repair_the_same_gap(world):
    clients = [world.client(process=number % 2) for number in range(20)]
    await settle()
    world.faults.delays = SLOW
    world.publish(ring=False)
    world.publish()
    await settle(1)
    assert all(client.data == numbers(range(2)) for client in clients)
    assert [process.log.reads for process in world.processes] == [1, 1]


@world(options=HubOptions(tick=(1.2, 1.6)))
async def test_a_tick_that_a_bell_overtakes_repairs_nothing(world):
    client = world.client()
    await settle()
    world.faults.delays = (0.5,)
    for _ in range(200):
        world.publish()
        await settle(0.05)
    assert client.data == numbers(range(200))
    assert world.reads == 0


@world()
async def test_spoiled_cursors_are_answered_by_a_reset(world):
    position = world.publish().position
    for _ in range(3):
        world.publish()
    whole = f"orders={position}"
    spoiled = [whole[:-1], whole[:-4], whole + "0", f"orders={position.seq}-00000000", "x" * 65_536]
    spoiled += [
        whole + "\0",
        "\ufffd\ufffd",
        f"orders={position.seq + 9}-{position.tag}",
        "others=1-9f3a2c1b",
    ]
    clients = [world.client(cursor=cursor) for cursor in spoiled]
    await settle()
    for client in clients:
        assert len(client.resets) == 1
        assert client.last_event_id == f"orders={world.head()}"
        assert client.data == []
    await asyncio.gather(*(client.disconnect() for client in clients))

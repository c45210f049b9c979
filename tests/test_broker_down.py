"""A broker that carries nothing: how it is noticed, what the tick does meanwhile, and how it heals."""

import asyncio
import logging

import pytest

from sse_app.hub import HubOptions
from sse_app.outbox import SEND_SECONDS
from sse_app.relay import Relay
from tests.broker import BROKEN, Layer, in_a_process
from tests.clock import run
from tests.world import Client, World

DOWN = "the channel layer carries nothing: events of other processes come by the tick"
UP = "the channel layer carries doorbells again"


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {"orders": {}, "alerts": {}, "ticks": {"kind": "ephemeral"}}


@pytest.fixture(params=BROKEN)
def broken(request):
    return request.param


def test_while_echoes_come_back_the_tick_is_slow():
    async def play(process):
        process.client("orders")
        await asyncio.sleep(1)
        assert 30 <= await process.looks(60) <= 55
        assert not process.relay.down
        assert 30 <= process.layer.echoes <= 55

    in_a_process(play, Layer())


def test_a_broker_that_carries_nothing_is_noticed_and_the_tick_quickens(broken, caplog):
    async def play(process):
        client = process.client("orders")
        await asyncio.sleep(3)
        process.layer.state = broken
        await asyncio.sleep(5)
        assert process.relay.down
        assert 110 <= await process.looks(60) <= 150
        for number in range(20):
            await process.publish_elsewhere(f"{number}")
            await asyncio.sleep(0.6)
            assert client.data == [f"{seen}" for seen in range(number + 1)]

    in_a_process(play, Layer())
    assert [record.message for record in caplog.records if record.message == DOWN] == [DOWN]


def test_a_broker_that_is_away_from_the_beginning_is_noticed_too(broken):
    async def play(process):
        process.layer.state = broken
        client = process.client("orders")
        await asyncio.sleep(6)
        assert process.relay.down
        await process.publish_elsewhere("by the tick")
        await asyncio.sleep(0.6)
        assert client.data == ["by the tick"]

    in_a_process(play, Layer())


def test_two_unanswered_echoes_are_an_outage_and_one_that_comes_back_is_its_end(broken):
    async def play():
        layer = Layer()
        relay = Relay(layer, lambda bell: None)
        await relay.join("orders")
        layer.state = broken
        down = []
        for _ in range(3):
            relay.probe()
            await asyncio.sleep(1)
            down.append(relay.down)
        assert down == ([True] * 3 if broken == "failing" else [False, False, True])
        layer.state = "up"
        await asyncio.sleep(SEND_SECONDS)
        relay.probe()
        await asyncio.sleep(0.1)
        assert not relay.down
        await relay.close()

    run(play())


def test_when_the_echoes_come_back_the_tick_slows_down_and_all_memberships_are_renewed(broken, caplog):
    caplog.set_level(logging.INFO, "sse_app")

    async def play(process):
        client, left = process.client("orders", "alerts", "ticks"), process.client("orders")
        await asyncio.sleep(3)
        process.relay.leave("ticks")
        process.layer.state = broken
        await asyncio.sleep(30)
        await process.publish_elsewhere("by the tick")
        await left.disconnect()
        await asyncio.sleep(1)
        process.layer.restart()
        await asyncio.sleep(SEND_SECONDS + 2)
        assert not process.relay.down
        assert [process.layer.members(topic) for topic in ("orders", "alerts", "ticks")] == [1, 1, 0]
        assert 30 <= await process.looks(60) <= 55
        process.hubs[0].options = HubOptions(tick=(3600, 3600))
        await asyncio.sleep(2)
        await process.publish_elsewhere("by the bell")
        await asyncio.sleep(0.01)
        assert client.data == ["by the tick", "by the bell"]

    in_a_process(play, Layer())
    told = [record.message for record in caplog.records if record.message in (DOWN, UP)]
    assert told == [DOWN, UP]


def test_a_topic_whose_reader_came_while_the_broker_was_away_is_joined_when_it_is_back(broken):
    async def play(process):
        process.client("orders")
        await asyncio.sleep(3)
        process.layer.state = broken
        await asyncio.sleep(6)
        process.client("alerts")
        await asyncio.sleep(6)
        process.layer.restart()
        await asyncio.sleep(2 * SEND_SECONDS)
        assert [process.layer.members(topic) for topic in ("orders", "alerts")] == [1, 1]

    in_a_process(play, Layer())


def test_nothing_is_probed_while_nothing_is_wanted():
    async def play(process):
        await asyncio.sleep(60)
        assert process.layer.echoes == 0
        await process.client("orders").disconnect()
        await asyncio.sleep(40)  # the topic lingers for 30
        after = process.layer.echoes
        process.layer.state = "failing"
        await asyncio.sleep(60)
        assert process.layer.echoes == after
        assert not process.relay.down

    in_a_process(play, Layer())


def test_without_a_layer_there_is_nothing_to_probe_and_the_tick_keeps_its_time():
    async def play(process):
        process.client("orders")
        await asyncio.sleep(1)
        assert 30 <= await process.looks(60) <= 55
        assert not process.relay.down
        assert process.relay._echo is None

    in_a_process(play)


# One read of the log per gap and process.


@pytest.mark.parametrize("readers", [1, 200])
def test_a_gap_is_read_once_in_each_process_whatever_the_number_of_its_readers(readers):
    async def play():
        world = World(processes=2)
        for number in range(2 * readers):
            world.clients.append(Client(world, ("orders",), None))
            world.clients[-1].connect(number % 2)
        await asyncio.sleep(0.1)
        for gap in (1, 2, 3):
            world.publish(ring=False)
            world.publish(ring=gap != 3)  # the bell of the last is lost too: the tick finds it
            await asyncio.sleep(2)
            assert [hub.tails["orders"].repairs for hub in world.hubs] == [gap, gap]
            assert world.log.reads == 2 * gap
        assert all(client.data == ["0", "1", "2", "3", "4", "5"] for client in world.clients)
        await world.close()

    run(play())


def test_with_the_broker_away_too_a_gap_is_read_once(broken):
    async def play(process):
        clients = [process.client("orders") for _ in range(50)]
        process.layer.state = broken
        await asyncio.sleep(8)
        for gap in (1, 2, 3):
            for number in range(10):
                await process.publish_elsewhere(f"{gap}.{number}")
            await asyncio.sleep(1)
            assert process.hubs[0].tails["orders"].repairs == process.log.reads == gap
        assert all(len(client.data) == 30 for client in clients)

    in_a_process(play, Layer())

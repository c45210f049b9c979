"""The promises of delivery, over lost, late and doubled bells, several processes, and logs undone."""

import asyncio

import pytest

from sse_app.doorbell import Doorbell
from sse_app.hub import Hub, HubOptions, hub_of_loop, hubs
from sse_app.positions import GENESIS
from sse_app.subscription import Subscription
from tests.simulation.scenario import NO_TICK, settle, world
from tests.simulation.world import TOPICS


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = TOPICS


@world()
async def test_a_reader_gets_what_is_published_while_it_reads(world):
    client = world.client()
    await settle()
    for number in range(3):
        world.publish(data=str(number))
    await settle()
    assert client.data == ["0", "1", "2"]
    assert world.reads == 0  # the bells carried everything


@world()
async def test_a_reader_that_was_away_gets_exactly_what_it_missed(world):
    client = world.client()
    await settle()
    world.publish(data="seen")
    await settle()
    await client.disconnect()
    for number in range(1000):
        world.publish(data=str(number))
    client.connect()
    await settle()
    assert client.data == ["seen", *map(str, range(1000))]
    assert client.resets == []


@world()
async def test_an_event_published_while_the_tail_starts_is_neither_lost_nor_repeated(world):
    client = world.client()
    world.publish(data="before the head was read")
    await settle(0.02)
    world.publish(data="around it")
    await settle()
    world.publish(data="after")
    await settle()
    assert client.data[-1] == "after"
    assert len(client.data) == len(set(client.data))


@world(processes=2)
async def test_a_lost_bell_is_healed_by_the_next_one(world):
    client = world.client()
    await settle()
    world.publish(ring=False)
    world.publish()
    await settle()
    assert client.data == ["0", "1"]


@world()
async def test_a_lost_last_bell_is_healed_by_the_tick(world):
    client = world.client()
    await settle()
    world.publish(ring=False)
    await settle(2)
    assert client.data == ["0"]


@world(options=NO_TICK)
async def test_bells_that_overtake_each_other_do_not_reorder_events(world):
    client = world.client()
    await settle()
    for _ in range(5):
        world.publish(ring=False)
    for bell in reversed(world.bells):
        world.hubs[0].hint(bell)
    await settle()
    assert client.data == ["0", "1", "2", "3", "4"]


@world(options=NO_TICK)
async def test_doubled_bells_are_dropped(world):
    client = world.client()
    await settle()
    world.publish()
    for _ in range(3):
        world.hubs[0].hint(world.bells[0])
    await settle()
    assert client.data == ["0"]
    assert world.reads == 0


@world()
async def test_one_gap_is_read_once_however_many_readers_there_are(world):
    clients = [world.client() for _ in range(50)]
    await settle()
    world.publish(ring=False)
    world.publish()
    await settle()
    assert all(client.data == ["0", "1"] for client in clients)
    assert world.reads == 1


@world()
async def test_more_bells_than_can_wait_lose_nothing(world):
    client = world.client()
    await settle()
    world.publish(ring=False)
    for _ in range(500):
        world.publish()
    await settle()
    assert client.data == [str(number) for number in range(501)]


@world(options=HubOptions(ring_entries=4))
async def test_a_reader_that_fell_out_of_the_ring_catches_up_from_the_log(world):
    client = world.client()
    await settle()
    for _ in range(400):  # in one go: the reader's task does not run in between
        world.publish()
    await settle()
    assert client.data == [str(number) for number in range(400)]
    assert client.resets == []


@world(processes=2)
async def test_a_reader_may_come_back_to_a_process_that_is_behind(world):
    ahead, behind = world.client(process=0), world.client(process=1)
    await settle()
    entry = world.publish(ring=False)
    world.hubs[0].hint(world.bells[0])
    await settle(0.01)
    assert (ahead.data, behind.data) == (["0"], [])
    await ahead.disconnect()
    ahead.connect(process=1)
    await settle()
    assert (ahead.data, behind.data) == (["0"], ["0"])
    assert ahead.last_event_id == f"orders={entry.position}"


@world(processes=2)
async def test_a_trimmed_position_is_answered_by_one_reset_with_the_count(world):
    client = world.client()
    await settle()
    world.publish()
    await settle()
    await client.disconnect()
    for _ in range(9):
        world.publish()
    world.log.cut("orders", 6)
    client.connect(process=1)  # whose ring proves nothing
    await settle()
    world.publish(data="goes on")
    await settle()
    assert client.resets == [{"topic": "orders", "reason": "trimmed", "missed": 9}]
    assert client.data == ["0", "goes on"]


@world(processes=2)
async def test_a_reset_may_go_on_at_the_oldest_event_kept(world):
    client = world.client("replayed")
    await settle()
    world.publish("replayed")
    await settle()
    await client.disconnect()
    for _ in range(9):
        world.publish("replayed")
    world.log.cut("replayed", 6)
    client.connect(process=1)  # whose ring proves nothing
    await settle()
    assert client.resets == [{"topic": "replayed", "reason": "trimmed", "missed": 4}]
    assert client.data == ["0", "5", "6", "7", "8", "9"]


@pytest.mark.parametrize(("before_seq", "resets"), [(3, 0), (4, 0), (5, 1)])
def test_trimming_up_to_the_position_is_noticed_only_beyond_it(before_seq, resets):
    """The reader has seen 3; entry 3 proves it, and so does entry 4, by the tag before it."""

    @world(processes=2)
    async def play(world):
        client = world.client()
        await settle()
        for _ in range(3):
            world.publish()
        await settle()
        await client.disconnect()
        for _ in range(3):
            world.publish()
        world.log.cut("orders", before_seq)
        client.connect(process=1)
        await settle()
        assert len(client.resets) == resets
        assert client.data == ["0", "1", "2"] + (["3", "4", "5"] if not resets else [])

    play()


@pytest.mark.parametrize("live", [True, False], ids=["live", "away"])
@pytest.mark.parametrize(
    ("grown", "reasons"), [(0, {"rewound"}), (2, {"rewound", "forked"}), (9, {"forked", "trimmed"})]
)
def test_a_log_that_was_wiped_is_noticed(live, grown, reasons):
    @world()
    async def play(world):
        client = world.client()
        await settle()
        for _ in range(5):
            world.publish()
        await settle()
        if not live:
            await client.disconnect()
        world.log.wipe()
        for _ in range(grown):
            world.publish()
        if not live:
            client.connect()
        await settle(3)
        assert {reset["reason"] for reset in client.resets} <= reasons
        assert client.resets or (live and not grown)
        world.publish(data="goes on")
        await settle(3)
        assert client.data[-1] == "goes on"
        assert len(client.resets) == 1

    play()


@world()
async def test_a_log_restored_from_a_backup_and_grown_past_the_reader_is_noticed(world):
    client = world.client()
    await settle()
    for _ in range(5):
        world.publish()
    backup = world.log.snapshot()
    for _ in range(5):
        world.publish()
    await settle()
    await client.disconnect()
    world.log.restore(backup)
    for _ in range(9):
        world.publish()
    client.connect()
    await settle()
    world.publish(data="goes on")
    await settle()
    assert [reset["reason"] for reset in client.resets] == ["forked"]
    assert client.data[-1] == "goes on"


@world()
async def test_while_the_log_fails_keep_alives_go_on_and_nothing_is_lost(world):
    client = world.client()
    await settle()
    world.faults.failing = True
    world.publish(ring=False)
    world.publish()
    await settle(60)
    assert client.data == []
    world.faults.failing = False
    await settle(2)
    assert client.data == ["0", "1"]


@world()
async def test_a_stream_that_begins_while_the_log_fails_begins_when_it_is_back(world):
    world.publish()
    world.faults.failing = True
    client = world.client()
    await settle(30)
    assert client.last_event_id == ""
    world.faults.failing = False
    await settle(2)
    assert client.last_event_id == f"orders={world.head()}"


@world()
async def test_two_tabs_may_come_with_the_same_cursor(world):
    first = world.client()
    await settle()
    world.publish()
    await settle()
    cursor = first.last_event_id
    world.publish()
    second = world.client(cursor=cursor)
    await settle()
    assert (first.data, second.data) == (["0", "1"], ["1"])


@world(options=HubOptions(linger=30))
async def test_the_tail_outlives_its_last_reader_for_a_while(world):
    client = world.client()
    await settle()
    await client.disconnect()
    await settle(10)
    assert world.hubs[0].tails.keys() == {"orders"}
    await settle(30)
    assert not world.hubs[0].tails


@world()
async def test_a_reader_may_come_while_its_topic_is_being_torn_down(world):
    client = world.client()
    await settle()
    for _ in range(20):
        await client.disconnect()
        await settle(world.rng.uniform(29, 33))
        client.connect()
        world.publish()
        await settle(2)
    assert client.data == [str(number) for number in range(20)]


@world()
async def test_readers_are_not_starved_while_a_gap_is_repaired_under_load(world):
    client = world.client()
    await settle()
    world.publish(ring=False)
    world.faults.failing = True
    publishing = asyncio.create_task(publish_steadily(world, every=0.005, count=1000))
    await settle(1)
    world.faults.failing = False
    world.faults.delays = (0.03,)
    await settle(2)  # the next try may be almost a second away
    assert len(client.data) > 200, "what the repair has found is delivered while the load goes on"
    await publishing
    await settle()
    assert client.data == [str(number) for number in range(1001)]


async def publish_steadily(world, every, count):
    for _ in range(count):
        world.publish()
        await asyncio.sleep(every)


@world(options=NO_TICK)
async def test_old_bells_that_come_late_cost_one_read(world):
    client = world.client()
    await settle()
    for _ in range(300):
        world.publish()
    await settle()
    reads = world.reads
    for bell in world.bells[:40]:
        world.hubs[0].hint(bell)
    await settle()
    assert world.reads - reads <= 2
    assert client.data == [str(number) for number in range(300)]


@world()
async def test_keep_alives_keep_their_time_while_another_topic_wakes_the_reader(world):
    subscription = Subscription(["orders", "ticks"], hub=world.hubs[0])
    world.faults.failing = True  # so that the stream can't begin
    blocks = subscription.blocks(15)
    loop = asyncio.get_running_loop()
    ticking = asyncio.create_task(tick_steadily(world, 60))
    started = loop.time()
    assert await anext(blocks) == b":\n"
    assert loop.time() - started == pytest.approx(15, abs=0.1)
    await blocks.aclose()
    await ticking


async def tick_steadily(world, seconds):
    for _ in range(seconds):
        world.hubs[0].hint(Doorbell("ticks", data="tick"))
        await asyncio.sleep(1)


@world()
async def test_a_reader_that_is_behind_takes_bounded_batches(world):
    subscription = Subscription(["orders"], hub=world.hubs[0])
    blocks = subscription.blocks(15)
    await anext(blocks)
    for _ in range(200):
        world.publish(data="x" * 50_000)
    sizes = []
    while sum(sizes) < 200 * 50_000:
        sizes.append(len(await anext(blocks)))
    assert max(sizes) <= 256 * 1024
    await blocks.aclose()


@world()
async def test_the_loop_of_a_closed_hub_gets_another_one(world):
    make = lambda: Hub(world.log, world.processes[0].group)  # noqa: E731
    first = hub_of_loop(make)
    await first.close()
    second = hub_of_loop(make)
    assert second is not first
    await second.close()
    assert hubs() == []


# Several topics.


@world()
async def test_each_topic_of_a_stream_is_resumed_exactly(world):
    client = world.client("orders", "alerts")
    await settle()
    world.publish("orders")
    world.publish("alerts")
    await settle()
    await client.disconnect()
    for topic in ("alerts", "orders", "alerts"):
        world.publish(topic)
    client.connect()
    await settle()
    assert sorted(client.data) == ["0", "1", "2", "3", "4"]
    assert client.resets == []


@world()
async def test_an_unreadable_cursor_resets_all_topics_in_one_event(world):
    world.publish("orders")
    client = world.client("orders", "alerts", cursor="junk")
    await settle()
    assert client.resets == [
        {"topic": "orders", "reason": "unknown", "missed": None},
        {"topic": "alerts", "reason": "unknown", "missed": None},
    ]
    assert client.last_event_id == f"orders={world.head()}&alerts={GENESIS}"


@world()
async def test_a_topic_that_the_cursor_lacks_starts_at_its_head(world):
    position = world.publish("orders").position
    world.publish("orders")
    world.publish("alerts", "old")
    client = world.client("orders", "alerts", cursor=f"orders={position}")
    await settle()
    assert client.data == ["1"]
    assert client.resets == []


@world()
async def test_a_cursor_that_was_cut_off_after_a_name_is_no_position(world):
    world.publish("orders")
    client = world.client("orders", "alerts", cursor=f"alerts={GENESIS}&orders=")
    await settle()
    assert client.resets == [{"topic": "orders", "reason": "unknown", "missed": None}]


@world()
async def test_an_unreadable_cursor_may_replay_what_is_kept(world):
    world.publish("replayed")
    world.publish("orders")
    client = world.client("replayed", "orders", cursor="junk")
    await settle()
    assert client.data == ["0"]
    assert {reset["topic"] for reset in client.resets} == {"replayed", "orders"}
    assert client.last_event_id.count("=") == 2


# Latest topics.


@world()
async def test_a_new_reader_of_a_latest_topic_gets_the_value_at_once(world):
    world.publish("config", "old")
    world.publish("config", "new")
    client = world.client("config")
    await settle()
    assert client.data == ["new"]


@world()
async def test_a_reader_of_a_latest_topic_that_was_away_gets_only_the_newest(world):
    client = world.client("config")
    await settle()
    world.publish("config", "first")
    await settle()
    await client.disconnect()
    for number in range(5):
        world.publish("config", str(number))
    client.connect()
    await settle()
    assert client.data == ["first", "4"]
    assert client.resets == []


@world()
async def test_a_latest_value_that_is_older_than_the_cursor_comes_after_a_look_at_the_log(world):
    for number in range(5):
        world.publish("config", str(number))
    cursor = f"config={world.head('config')}"
    world.log.wipe()
    world.publish("config", "after the wipe")
    client = world.client("config", cursor=cursor)
    await settle()
    assert client.data == ["after the wipe"]

"""With the log in Redis, what Redis keeps is delivered once, and a reset tells what it has lost."""

import pytest

from tests.faults import faults
from tests.faults.report import table
from tests.faults.stage import Stage
from tests.services import RedisServer
from tests.site import copy_database

SECONDS = {faults.redis_stopped: 4.0}
UNDONE = {"rewound", "forked"}  # forked, where the log has grown past the reader again
RESETS = {
    faults.redis_lost: UNDONE,
    faults.redis_flushed: UNDONE,
    faults.redis_set_back: UNDONE,
    faults.log_trimmed: {"trimmed"},
}


@pytest.fixture(scope="module")
def stage(migrated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis-log")
    database = copy_database(migrated, folder)
    with (
        RedisServer(tmp_path_factory.mktemp("redis-with-log"), append_only=True) as redis,
        Stage(folder, log="redis", layer="core", database=database, redis=redis) as stage,
    ):
        yield stage
        print(f"\n{table(stage.rounds)}")


@pytest.mark.parametrize(
    "fault",
    [each for each in faults.EVERYWHERE if each is not faults.bells_lost],
    ids=lambda fault: fault.__name__,
)
def test_what_was_kept_is_delivered_once_and_every_reset_is_true(stage, fault):
    done = stage.round(fault, SECONDS.get(fault, 2.0))
    assert not done.violations
    assert done.resets.keys() <= RESETS.get(fault, set())
    assert bool(done.resets) == (fault in RESETS)
    assert done.delivered
    assert fault is faults.server_killed or not done.disconnected
    assert not done.refused


def test_ephemeral_events_come_again_after_a_flush(stage):
    assert not stage.round(faults.redis_flushed, 1.0).violations
    assert stage.hears_ticks_again()

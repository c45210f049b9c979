"""With the log in PostgreSQL nothing that happens to Redis, to a server or to a publisher loses an event."""

import psycopg
import pytest

from tests.faults import faults
from tests.faults.report import table
from tests.faults.stage import Stage
from tests.services import RedisServer

SECONDS = {faults.redis_stopped: 4.0, faults.redis_away: 8.0}
FAULTS = [each for each in faults.EVERYWHERE if each is not faults.bells_lost]


@pytest.fixture(scope="module")
def stage(postgres, tmp_path_factory):
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE faults")
    folder = tmp_path_factory.mktemp("orm")
    with (
        RedisServer(tmp_path_factory.mktemp("redis-of-orm")) as redis,
        Stage(folder, log="orm", database=f"{postgres}/faults", redis=redis) as stage,
    ):
        yield stage
        print(f"\n{table(stage.rounds)}\n{stage.healing}")


@pytest.mark.parametrize(
    "fault", [*FAULTS, *faults.ON_POSTGRESQL, faults.redis_away], ids=lambda fault: fault.__name__
)
def test_nothing_is_lost_or_repeated_and_only_a_trimmed_log_resets(stage, fault):
    done = stage.round(fault, SECONDS.get(fault, 2.0))
    assert not done.violations
    assert done.resets.keys() == ({"trimmed"} if fault is faults.log_trimmed else set())
    assert done.delivered
    assert fault is faults.server_killed or not done.disconnected
    # Who may read is asked of the database as well; a request that is cut off there ends in 500.
    assert fault is faults.backends_terminated or not done.refused


def test_ephemeral_events_come_again_after_all_of_it(stage):
    assert stage.hears_ticks_again()


def test_what_a_lost_bell_has_hidden_is_delivered_to_everyone_by_the_next_tick_or_bell(stage):
    done = stage.round(faults.bells_lost, 8.0)
    assert not done.violations
    assert not done.resets
    assert not done.disconnected
    assert len(stage.healing.lasts()) >= 4
    assert max(stage.healing.lasts()) < 10.0  # 3 s in the report: here the machine may be busy
    assert len(stage.healing.gaps()) >= 40
    assert max(stage.healing.gaps()) < 10.0

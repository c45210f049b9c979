"""The faults: each is something that happens to a stage under load, and is over when it returns."""

import time

from tests.faults.topics import TRIMMED
from tests.faults.truth import Trim

KEPT = 20


def fault(title):
    """Name a fault as the report does."""

    def mark(run):
        run.title = title
        return run

    return mark


@fault("none")
def none(stage, seconds):
    time.sleep(seconds)


@fault("Redis killed, and restarted with its data")
def redis_killed(stage, seconds):
    stage.redis.kill()
    time.sleep(seconds / 2)
    stage.redis.start()
    time.sleep(seconds / 2)


@fault("Redis killed, and restarted without its data")
def redis_lost(stage, seconds):
    time.sleep(seconds / 3)
    stage.await_growth()
    with stage.undoing({}):
        stage.redis.kill()
        stage.redis.empty_folder()
        time.sleep(seconds / 3)
        stage.redis.start()
    time.sleep(seconds / 3)


@fault("Redis stopped: connections stay, nothing is answered")
def redis_stopped(stage, seconds):
    stage.redis.stop()
    time.sleep(seconds)
    stage.redis.resume()
    time.sleep(1.0)


@fault("Redis away")
def redis_away(stage, seconds):
    stage.redis.kill()
    time.sleep(seconds)
    stage.redis.start()


@fault("Redis closes its clients' connections")
def redis_clients_killed(stage, seconds):
    with stage.redis.client() as client:
        for _ in repeated(seconds, every=0.5):
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)


@fault("Redis flushed")
def redis_flushed(stage, seconds):
    time.sleep(seconds / 2)
    stage.await_growth()
    with stage.undoing({}), stage.redis.client() as client:
        client.flushall()
    time.sleep(seconds / 2)


@fault("Redis set back to an older snapshot")
def redis_set_back(stage, seconds):
    heads = stage.heads()
    stage.redis.save()
    time.sleep(seconds / 2)
    stage.await_growth()
    with stage.undoing(heads):
        stage.redis.kill()
        stage.redis.start_from_snapshot()
    time.sleep(seconds / 2)


@fault("PostgreSQL ends its clients' connections")
def backends_terminated(stage, seconds):
    for _ in repeated(seconds, every=0.5):
        stage.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@fault("a server killed, and replaced")
def server_killed(stage, seconds):
    number = len(stage.rounds) % len(stage.servers)
    stage.kill_server(number)
    time.sleep(seconds / 2)
    stage.replace_server(number)
    time.sleep(seconds / 2)


@fault("publishers killed, one between commit and doorbell")
def publishers_killed(stage, seconds):
    time.sleep(seconds / 2)
    for name, child in list(stage.publishers.items()):
        child.kill()
        child.wait()
        stage.start_publisher(name)
    stage.publish_once("last_words", code=9)
    time.sleep(seconds / 2)


@fault("the log trimmed under slow and absent readers")
def log_trimmed(stage, seconds):
    stage.hold.up()
    since = time.time()
    stage.publish_once("burst")
    stage.site.manage("sse_trim", *TRIMMED, "--keep", str(KEPT))
    stage.await_heads()
    for topic, head in stage.heads().items():
        if topic in TRIMMED:
            stage.truth.trims.append(Trim(topic, since, head - KEPT + 1))
    stage.hold.down()
    time.sleep(seconds)


@fault("doorbells lost: the last one of a topic, or one before another")
def bells_lost(stage, seconds):
    stage.publish_once("lose_bells", seconds=seconds)


def repeated(seconds, every):
    """Go on for so many seconds, with a pause after each turn."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(every)


EVERYWHERE = (
    redis_killed,
    redis_lost,
    redis_stopped,
    redis_clients_killed,
    redis_flushed,
    redis_set_back,
    server_killed,
    publishers_killed,
    log_trimmed,
    bells_lost,
)
ON_POSTGRESQL = (backends_terminated,)

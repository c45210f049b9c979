"""The stage: Redis, a database, two servers, two publishers, fifty readers and a witness, all processes."""

import contextlib
import json
import subprocess
import sys
import time

import httpx
import orjson
import psycopg

from tests.faults import faults
from tests.faults.checker import Checker, Violation
from tests.faults.plan import REPAIRS, plan
from tests.faults.records import Flag, Follower
from tests.faults.report import Healing, Round
from tests.faults.topics import EPHEMERAL, LATEST, ORDINARY, SSE_TOPICS
from tests.faults.truth import Truth, Undo
from tests.site import DEADLINE, ROOT, Site

# Long enough for a machine that is busy; how long it really took is in the report.
SETTLE_SECONDS = 60.0
PUBLISHERS = ("a", "b")
ENVIRONMENT = {
    "SSE_TOPICS": json.dumps(SSE_TOPICS),
    "SSE_RETRY": "0.5",
    "SSE_KEEP_ALIVE": "2",
    "SSE_RING_ENTRIES": "64",  # falling out of it has to be common
    "DJANGO_SECRET_KEY": "only-for-tests",
}
LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


class FaultySite(Site):
    """The demo, in servers that count their repairs."""

    application = "tests.faults.asgi:application"


class Stage:
    """Everything that runs. ``log``: "orm" or "redis"; ``layer``: "pubsub" or "core"."""

    def __init__(
        self, folder, *, log, database, redis, layer="pubsub", servers=("uvicorn", "uvicorn"), rate=8.0
    ):
        self.folder = folder
        self.log = log
        self.database = database
        self.redis = redis
        self.rate = rate
        self.makes = servers
        seams = {"SSE_EVENT_LOG": log, "SSE_REDIS": redis.url, "DEMO_CHANNEL_LAYER": LAYERS[layer]}
        self.site = FaultySite(folder, DATABASE_URL=database, REDIS_URL=redis.url, **ENVIRONMENT, **seams)
        self.records = folder / "records"
        self.records.mkdir()
        self.pause, self.hold = Flag(self.records, "pause"), Flag(self.records, "hold")
        self.servers, self.publishers, self.children = [], {}, []
        self.rounds = []
        self.healing = Healing()
        self._follower = Follower(self.records)
        self._paused = {}
        self._started = 0
        self._repaired = 0  # by servers that are no more

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        for child in self.children:
            child.kill()
            child.wait()
        self.site.close()

    def _start(self):
        self.site.manage("migrate", "-v0")
        self.site.manage("demo_data")
        self.site.environment["DJANGO_DEBUG"] = "0"
        self.servers = [self.site.start(make) for make in self.makes]
        self.pause.up()
        self.witness = self.spawn("witness")
        for name in PUBLISHERS:
            self.start_publisher(name)
        for server in self.servers:
            server.wait_until_live()
        with contextlib.closing(self.servers[0].sign_in()) as client:
            cookie = f"sessionid={client.cookies['sessionid']}"
        readers = plan([server.port for server in self.servers], cookie)
        (self.records / "plan.json").write_bytes(orjson.dumps(readers))
        self.readers = self.spawn("readers")
        truth = Truth(self.log == "orm", frozenset([LATEST]), frozenset([EPHEMERAL]))
        self.checker = Checker(truth, {each["number"]: each["topics"] for each in readers["readers"]})
        ordinary = [each for each in readers["readers"] if each["behaviour"] == "ordinary"]
        self.ordinary = frozenset(each["number"] for each in ordinary if ORDINARY[0] in each["topics"])
        self.listeners = {each["number"] for each in ordinary if EPHEMERAL in each["topics"]}
        self._settle(Round("start", since=time.time()))

    def spawn(self, module, *arguments, name=None, **environment):
        """Start a process of this folder's."""
        log = (self.folder / f"{name or module}.log").open("ab")
        with log:
            child = subprocess.Popen(
                [sys.executable, "-m", f"tests.faults.{module}", "--folder", str(self.records), *arguments],
                cwd=ROOT,
                env={**self.site.environment, **environment},
                stdout=log,
                stderr=log,
            )
        self.children.append(child)
        return child

    def start_publisher(self, name):
        self._started += 1
        options = ["--name", name, "--rate", str(self.rate), "--seed", str(self._started)]
        self.publishers[name] = self.spawn("publisher", *options, name=f"publisher-{name}")

    def publish_once(self, what, *, code=0, seconds=0.0):
        """Let a publisher of its own do one thing and end."""
        child = self.spawn("publisher", "--name", what, "--once", what, "--seconds", str(seconds), name=what)
        assert child.wait(seconds + 60) == code, (self.folder / f"{what}.log").read_text()

    def sql(self, statement):
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    @contextlib.contextmanager
    def undoing(self, heads):
        """Undo the Redis log meanwhile, down to those heads; for another log it means nothing."""
        since = time.time()
        yield
        if self.log == "redis":
            self.truth.undos.append(Undo(since, time.time(), heads))

    @property
    def truth(self):
        return self.checker.truth

    def heads(self):
        """Give the seqs of all heads, as the witness last saw them."""
        self.pump()
        return {topic: at.seq for topic, at in self.truth.heads.items()}

    def await_heads(self):
        """Wait until the witness has looked once more."""
        now = time.time()
        self._await(lambda: self.truth.heads_since > now, "the witness is blind")

    def await_growth(self):
        """Wait until something has been published, so that there is something to lose."""
        topic = ORDINARY[0]
        seq = self.heads()[topic]
        self._await(lambda: self.truth.heads[topic].seq > seq, "nothing is published")

    def _await(self, condition, otherwise):
        deadline = time.monotonic() + SETTLE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.02)
            self.pump()

    def kill_server(self, number):
        self._repaired += self._repairs_of(self.servers[number])
        self.servers[number].kill()

    def replace_server(self, number):
        """Start another server in the place of one that was killed."""
        port = self.servers[number].port
        self.servers[number] = self.site.serve(self.makes[number], port=port)

    def round(self, fault, seconds):
        """Let the load run with the fault in it, then wait until everyone has everything, and check."""
        self.pump()
        current = Round(fault.title, ordinary=self.ordinary, since=time.time())
        self.rounds.append(current)
        repairs = self.repairs()
        self.pause.down()
        fault(self, seconds)
        self.hold.down()
        self._settle(current)
        current.repairs = self.repairs() - repairs
        return current

    def hears_ticks_again(self):
        """Whether within some rounds without a fault all readers of the ephemeral topic hear of it."""
        return any(self.listeners <= self.round(faults.none, 2.0).listeners for _ in range(8))

    def _settle(self, current):
        found = len(self.checker.violations)
        self.pause.up()
        deadline = time.monotonic() + SETTLE_SECONDS
        behind = [None]
        while behind and time.monotonic() < deadline:
            time.sleep(0.02)
            self.pump()
            behind = self._behind(current)
        current.settled = time.time() - current.until
        self.checker.violations += [Violation("not delivered", None, str(each)) for each in behind]
        self.checker.verify()
        current.violations = self.checker.violations[found:]

    def _behind(self, current):
        """Say who has not everything yet; publishers count as long as they publish."""
        asked = {f"{name}.{child.pid}" for name, child in self.publishers.items()}
        resting = asked & self._paused.keys()
        if resting != asked:
            return [f"the publishers {asked - resting} go on"]
        current.until = max(self._paused[name] for name in asked)
        if self.truth.heads_since <= current.until:
            return ["the witness has not looked"]
        return self.checker.behind()

    def pump(self):
        """Take in all new records."""
        for child in (self.readers, self.witness):
            assert child.poll() is None, f"a process has ended: {self.logs()}"
        for record in self._follower.new():
            if record["kind"] in ("paused", "resumed"):
                self._pausing(record)
            self.checker.feed(record)
            self.healing.feed(record)
            if self.rounds:
                self.rounds[-1].feed(record)

    def _pausing(self, record):
        if record["kind"] == "paused":
            self._paused[record["name"]] = record["t"]
        else:
            self._paused.pop(record["name"], None)

    def repairs(self):
        """Count how often the servers' tails have read the log anew."""
        return self._repaired + sum(map(self._repairs_of, self.servers))

    def _repairs_of(self, server):
        return int(httpx.get(f"{server.base}{REPAIRS}", timeout=DEADLINE).text)

    def logs(self):
        return {path.name: path.read_text()[-2000:] for path in self.folder.glob("*.log")}

"""The management commands: those of the app, and those of the demo."""

import asyncio
import contextlib
import io
import signal
import socket
import subprocess
import sys

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import override_settings

from sse_app.models import Event, Notification
from tests.site import DEADLINE, ROOT, free_port

database = pytest.mark.django_db(transaction=True)

LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"
RESERVED = "closed, cursor, error, lagged, open, reset, shutdown"


def printed(*arguments, **options):
    output = io.StringIO()
    call_command(*arguments, stdout=output, **options)
    return output.getvalue()


@database
def test_sse_publish_prints_the_position():
    text = printed("sse_publish", "notifications", '{"title": "Hello"}', "--event", "news")
    event = Event.objects.get()
    assert text == f"notifications={event}\n"
    assert (event.topic.name, event.event, event.data) == ("notifications", "news", '{"title": "Hello"}')


@database
def test_sse_publish_says_where_there_is_no_position():
    assert printed("sse_publish", "demo.clock", "tick") == "demo.clock (no position)\n"
    assert Event.objects.count() == 0


@database
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing", "x"], "no topic 'nothing' is declared"),
        (["a b", "x"], f"illegal topic 'a b': {LEGAL}"),
        (["notifications", "x", "--event", "reset"], f"event: 'reset' is reserved, as are {RESERVED}"),
        (["notifications", "x", "--event", "error"], f"event: 'error' is reserved, as are {RESERVED}"),
        (["notifications", "x", "--event", "a\nb"], "event: must be one line, without CR or LF"),
        (["notifications", "\udcff"], "data: must not contain a lone surrogate"),
        (
            ["notifications", "x" * 65_537],
            "data: 65537 bytes are more than the 65536 of SSE_MAX_EVENT_BYTES",
        ),
    ],
    ids=["unknown topic", "illegal topic", "reserved", "error", "two lines", "not UTF-8", "too large"],
)
def test_sse_publish_refuses_with_the_reason(arguments, error):
    with pytest.raises(CommandError) as caught:
        call_command("sse_publish", *arguments)
    assert str(caught.value) == error
    assert Event.objects.count() == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing"], "no topic 'nothing' is declared"),
        (["notifications", "a b"], f"illegal topic 'a b': {LEGAL}"),
        (["notifications", "--count", "0"], "--count must be at least 1"),
    ],
)
def test_sse_tail_refuses_with_the_reason(arguments, error):
    with pytest.raises(CommandError) as caught:
        call_command("sse_tail", *arguments)
    assert str(caught.value) == error


class Tail:
    """``sse_tail`` in a process of its own."""

    def __init__(self, child):
        self.child = child

    async def line(self):
        async with asyncio.timeout(DEADLINE):
            line = await self.child.stdout.readline()
        assert line, (await self.child.stderr.read()).decode()
        return line.decode().removesuffix("\n")

    async def ended(self):
        """Wait for the end, and give the exit code and what else was printed."""
        async with asyncio.timeout(DEADLINE):
            out, err = await self.child.communicate()
        # In development mode asyncio tells how long a busy machine took.
        told = [line for line in (out + err).decode().splitlines(True) if not line.startswith("Executing <")]
        return self.child.returncode, "".join(told)


@contextlib.asynccontextmanager
async def tail(site, *arguments):
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "manage.py", "sse_tail", *arguments),
        cwd=ROOT,
        env={**site.environment, "PYTHONDEVMODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts what runs in its background with the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield Tail(child)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()


async def publish(site, topic, data):
    """Publish from yet another process; gives the id."""
    return (await asyncio.to_thread(site.manage, "sse_publish", topic, data)).strip()


async def test_sse_tail_prints_what_other_processes_publish(site):
    first = await publish(site, "room.a", "first")
    async with tail(site, "room.a", "--after", "room.a=0-00000000", "--count", "3") as tailing:
        assert await tailing.line() == f"{first}\tmessage\tfirst"
        # From here on it is live, and the in-memory layer reaches no other process: the tick does.
        for data in ("second", "third"):
            id = await publish(site, "room.a", data)
            assert await tailing.line() == f"{id}\tmessage\t{data}"
        assert await tailing.ended() == (0, "")


async def test_sse_tail_resumes_after_an_id(site):
    ids = [await publish(site, "room.a", str(number)) for number in range(3)]
    async with tail(site, "room.a", "--after", ids[0], "--count", "2") as tailing:
        assert [await tailing.line() for _ in range(2)] == [f"{ids[1]}\tmessage\t1", f"{ids[2]}\tmessage\t2"]
        assert await tailing.ended() == (0, "")


async def test_sse_tail_tells_of_a_reset_and_does_not_count_it(site):
    head = await publish(site, "room.a", "before")
    async with tail(site, "room.a", "--after", "broken", "--count", "1") as tailing:
        told = '{"topics":[{"topic":"room.a","reason":"unknown","missed":null}]}'
        assert await tailing.line() == f"{head}\treset\t{told}"
        id = await publish(site, "room.a", "after")
        assert await tailing.line() == f"{id}\tmessage\tafter"
        assert await tailing.ended() == (0, "")


async def test_sse_tail_ends_quietly_at_ctrl_c(site):
    id = await publish(site, "room.a", "seen")
    async with tail(site, "room.a", "--after", "room.a=0-00000000") as tailing:
        assert await tailing.line() == f"{id}\tmessage\tseen"
        tailing.child.send_signal(signal.SIGINT)
        assert await tailing.ended() == (0, "")


@database
@override_settings(DEBUG=True)
def test_demo_data_makes_what_is_missing_and_no_more():
    call_command("demo_data")
    user = get_user_model().objects.get()
    assert (user.username, user.is_superuser, user.check_password("admin")) == ("admin", True, True)
    assert Notification.objects.get().title == "Welcome"
    assert Event.objects.get().event == "notification"
    user.set_password("changed")
    user.save()
    call_command("demo_data")
    user.refresh_from_db()
    assert user.check_password("changed")
    assert (get_user_model().objects.count(), Notification.objects.count(), Event.objects.count()) == (
        1,
        1,
        1,
    )


@database
@override_settings(DEBUG=False)
def test_demo_data_is_refused_outside_debug_mode():
    with pytest.raises(CommandError) as caught:
        call_command("demo_data")
    assert str(caught.value) == "The demo's account has a well-known password: DJANGO_DEBUG=1 only."
    assert get_user_model().objects.count() == Event.objects.count() == 0


def runserver(site, *arguments):
    done = subprocess.run(
        [sys.executable, "manage.py", "runserver", *arguments],
        cwd=ROOT,
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize("reloading", [["--noreload"], []], ids=["alone", "with the reloader"])
def test_runserver_says_that_its_port_is_taken_and_ends(site, taken, reloading):
    code, out, err = runserver(site, *reloading, str(taken))
    assert (code, out) == (1, "")
    assert err == f"CommandError: Port {taken} is taken. Choose another one: make run PORT={taken + 1}\n"


def test_runserver_says_that_an_address_is_not_this_machines(site):
    port = free_port()
    code, out, err = runserver(site, "--noreload", f"192.0.2.1:{port}")
    assert (code, out) == (1, "")
    assert err == f"CommandError: Can't listen on 192.0.2.1:{port}: Cannot assign requested address\n"

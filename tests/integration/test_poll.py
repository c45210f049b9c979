"""The long poll over real HTTP, with clients that this project did not write."""

import json
import subprocess
from urllib.parse import quote

import httpx
import pytest

from tests.services import copy_database
from tests.site import DEADLINE, SERVERS, Site


@pytest.fixture(scope="module")
def shared(migrated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("polls")
    site = Site(folder, DATABASE_URL=copy_database(migrated, folder))
    yield site
    site.close()


@pytest.fixture(scope="module", params=SERVERS)
def server(request, shared):
    server = shared.serve(request.param)
    yield server
    server.kill()


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.base, timeout=DEADLINE, trust_env=False) as client:
        yield client


def test_curl_waits_for_the_next_event_and_goes_on_after_it(server):
    admin = server.sign_in()
    address = f"{server.base}/sse/poll/?topic=notifications"
    first = json.loads(subprocess.run(["curl", "-s", address], capture_output=True, check=True).stdout)
    assert first["events"] == []
    waiting = f"{address}&wait=20&last_event_id={quote(first['last_event_id'])}"
    with subprocess.Popen(["curl", "-sN", "-D", "-", waiting], stdout=subprocess.PIPE) as curl:
        head = iter(curl.stdout.readline, b"\r\n")
        headers = b"".join(head).decode().lower()  # they come when it begins to wait
        assert headers.startswith("http/1.1 200")
        assert "content-type: application/json" in headers
        assert "cache-control: no-store" in headers
        headers = {"X-CSRFToken": admin.cookies["csrftoken"], "Referer": server.base}
        sent = admin.post("/sse/topics/notifications/", json={"data": "now"}, headers=headers).json()
        answer = json.loads(curl.stdout.read())
    admin.close()
    assert answer == {
        "events": [{"topic": "notifications", "event": "message", "data": "now", "id": sent["id"]}],
        "last_event_id": sent["id"],
    }


def test_nothing_new_is_an_empty_list(client):
    cursor = client.get("/sse/poll/?topic=notifications").json()["last_event_id"]
    parameters = {"topic": "notifications", "wait": "0.1", "last_event_id": cursor}
    answer = client.get("/sse/poll/", params=parameters)
    assert answer.json() == {"events": [], "last_event_id": cursor}
    assert client.head("/sse/poll/", params=parameters).content == b""


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("", 400, "name at least one topic, as in ?topic=notifications"),
        ("topic=notifications&wait=61", 400, "wait: must be a number of seconds from 0 to 60, not '61'"),
        ("topic=nothing", 404, "no topic 'nothing' is declared"),
        ("topic=room.a", 401, "you may not read 'room.a'; sign in first"),
    ],
)
def test_a_refusal_says_what_is_wrong(client, query, status, error):
    answer = client.get(f"/sse/poll/?{query}")
    assert (answer.status_code, answer.json()) == (status, {"error": error})

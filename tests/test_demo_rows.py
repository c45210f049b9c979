"""The table of the demo: how it is made, and its address."""

import json

import pytest
from django.core.asgi import get_asgi_application
from django.core.management import CommandError, call_command

from project.models import Measurement
from tests.asgi import fetch
from tests.test_commands import printed

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = "/demo/export/rows/"

app = get_asgi_application()


@pytest.fixture
def ids():
    """The ids of a table of 25 rows."""
    call_command("demo_rows", "25", verbosity=0)
    return list(Measurement.objects.order_by("pk").values_list("pk", flat=True))


async def lines(query=""):
    answer = await fetch(app, ROWS + query)
    assert (answer.status, answer.ended) == (200, True)
    return answer.headers, [json.loads(line) for line in answer.content.splitlines()]


async def refused(query):
    answer = await fetch(app, ROWS + query)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    return json.loads(answer.content)["error"]


def test_demo_rows_makes_as_many_as_asked_for():
    assert printed("demo_rows", "12345") == "12345 rows to export (12345 added)\n"
    assert Measurement.objects.count() == 12345


def test_demo_rows_twice_leaves_the_rows_as_they_are(ids):
    before = list(Measurement.objects.order_by("pk").values())
    assert printed("demo_rows", "25") == "25 rows to export (all were there)\n"
    assert list(Measurement.objects.order_by("pk").values()) == before


def test_demo_rows_adds_what_is_missing_and_removes_what_is_too_much(ids):
    assert printed("demo_rows", "40") == "40 rows to export (15 added)\n"
    assert printed("demo_rows", "10") == "10 rows to export (30 removed)\n"
    assert list(Measurement.objects.order_by("pk").values_list("pk", flat=True)) == ids[:10]
    assert printed("demo_rows", "0") == "0 rows to export (10 removed)\n"
    assert not Measurement.objects.exists()


def test_a_table_with_rows_may_be_left_as_it_is(ids):
    assert printed("demo_rows", "40", "--if-empty") == "25 rows to export (all were there)\n"
    Measurement.objects.all().delete()
    assert printed("demo_rows", "40", "--if-empty") == "40 rows to export (40 added)\n"


def test_the_same_count_makes_the_same_rows(ids):
    values = ["sensor", "value", "taken_at", "status"]
    first = list(Measurement.objects.order_by("pk").values(*values))
    Measurement.objects.all().delete()
    call_command("demo_rows", "25", verbosity=0)
    assert list(Measurement.objects.order_by("pk").values(*values)) == first


def test_demo_rows_makes_100_000_unless_told_otherwise():
    assert printed("demo_rows") == "100000 rows to export (100000 added)\n"
    assert Measurement.objects.count() == 100_000
    assert set(Measurement.objects.values_list("status", flat=True)) == {"ok", "high", "low"}


def test_demo_rows_refuses_a_negative_count(ids):
    with pytest.raises(CommandError, match="^COUNT must not be negative, but it is -1$"):
        call_command("demo_rows", "-1")
    assert Measurement.objects.count() == 25


async def test_the_whole_table_and_the_record_that_ends_it(ids):
    headers, (*rows, trailer) = await lines()
    assert headers["content-type"] == "application/x-ndjson"
    assert headers["content-disposition"] == 'attachment; filename="measurements.ndjson"'
    assert headers["x-total-count"] == "25"
    assert [row["id"] for row in rows] == ids
    assert trailer == {"complete": True, "count": 25}
    assert {**rows[1], "id": None} == {
        "id": None,
        "sensor": "boiler-2",
        "value": "24.63",
        "taken_at": "2026-01-01T00:00:01Z",
        "status": "high",
    }


async def test_an_export_goes_on_after_an_id(ids):
    headers, (*rows, trailer) = await lines(f"?after={ids[9]}")
    assert [row["id"] for row in rows] == ids[10:]
    assert (headers["x-total-count"], trailer["count"]) == ("15", 15)
    headers, (trailer,) = await lines(f"?after={ids[-1]}")
    assert (headers["x-total-count"], trailer["count"]) == ("0", 0)


async def test_an_empty_table_is_complete():
    headers, records = await lines()
    assert (headers["x-total-count"], records) == ("0", [{"complete": True, "count": 0}])


async def test_a_slow_export_is_the_same(ids):
    _, fast = await lines()
    _, slow = await lines("?pace=100")
    assert slow == fast


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.5", " 1", "1_0", "%D9%A1", "9223372036854775808", "9" * 5000]
)
async def test_a_bad_position_is_refused(text):
    error = await refused(f"?after={text}")
    assert error.startswith("after: must be a whole number from 0 to 9223372036854775807, not '")


@pytest.mark.parametrize("text", ["", "x", "0", "1000001"])
async def test_a_bad_pace_is_refused(text):
    assert await refused(f"?pace={text}") == f"pace: must be a whole number from 1 to 1000000, not {text!r}"


async def test_only_reading_is_allowed():
    for address in (ROWS, "/demo/export/"):
        answer = await fetch(app, address, method="OPTIONS")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_head_tells_the_number_alone(ids):
    answer = await fetch(app, ROWS, method="HEAD")
    assert (answer.headers["x-total-count"], answer.content) == ("25", b"")


async def test_the_page_names_the_file(ids):
    answer = await fetch(app, "/demo/export/")
    text = answer.content.decode()
    assert f'<a href="{ROWS}" download="measurements.ndjson">' in text
    assert "25 rows as NDJSON" in text
    assert f"{ROWS}?after={ids[-1] - 3}'" in text

"""Payloads: the JSON forms, compared with those of Django's own encoder."""

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import TextChoices
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, override
from hypothesis import given
from hypothesis import strategies as st

from sse_app.payloads import json_default, require_utf8, to_json, to_text

Point = namedtuple("Point", "x y")


class Level(TextChoices):
    INFO = "info", "For your information"


def django_json(value):
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))


EAST = timezone(timedelta(hours=5, minutes=45))
WEST = timezone(-timedelta(hours=3, minutes=30))
VALUES = {
    "date": date(2026, 2, 3),
    "early date": date(1, 1, 1),
    "naive datetime": datetime(2026, 2, 3, 4, 5, 6),
    "naive datetime with microseconds": datetime(2026, 2, 3, 4, 5, 6, 789123),
    "naive datetime with one microsecond": datetime(2026, 2, 3, 4, 5, 6, 1),
    "UTC datetime": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    "UTC datetime with microseconds": datetime(2026, 2, 3, 4, 5, 6, 789999, UTC),
    "datetime east of UTC": datetime(2026, 2, 3, 4, 5, 6, tzinfo=EAST),
    "datetime east of UTC with microseconds": datetime(2026, 2, 3, 4, 5, 6, 789123, EAST),
    "datetime west of UTC": datetime(2026, 2, 3, 4, 5, 6, 7, WEST),
    "early datetime": datetime(1, 1, 1, 0, 0, 0, 1),
    "time": time(4, 5, 6),
    "time of a minute": time(4, 5),
    "time with microseconds": time(4, 5, 6, 789123),
    "no time at all": timedelta(0),
    "timedelta": timedelta(days=3, hours=4, minutes=5, seconds=6),
    "timedelta with microseconds": timedelta(seconds=1, microseconds=2),
    "negative timedelta": timedelta(days=-1, hours=2),
    "negative timedelta with microseconds": -timedelta(seconds=1, microseconds=500),
    "long timedelta": timedelta(days=999_999),
    "Decimal": Decimal("1.10"),
    "large Decimal": Decimal("1E+30"),
    "Decimal that is no number": Decimal("NaN"),
    "UUID": UUID("12345678-1234-5678-1234-567812345678"),
    "lazy translation": gettext_lazy("January"),
    "lazy translations, nested": {"title": [gettext_lazy("Monday")]},
    "safe string": mark_safe("<b>"),
    "choice": Level.INFO,
    "tuple": (1, (2,)),
    "named tuple": Point(1, Point(date(2026, 2, 3), 2)),
    "ordered dict": OrderedDict(b=1, a=2),
    "nested": {"a": [{"b": (date(2026, 2, 3), Decimal(1))}], "c": {}},
    "keys": {2: "int", True: "bool", None: "null", 1.5: "float", "é": "str"},
    "unicode": "é…🚀\u2028\u2029\x7f\ufeff",
    "control characters": '\0\b\t\n\f\r\x1f"\\/',
    "constants": [None, True, False, 0, -1, 2**63, -(2**63)],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_json_is_what_django_makes_of_it(value):
    assert to_json(value) == django_json(value).encode()


seconds = st.timedeltas(-timedelta(hours=23), timedelta(hours=23)).map(
    lambda offset: timedelta(seconds=round(offset.total_seconds()))
)


@given(
    st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC) | seconds.map(timezone))
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.text()
)
def test_any_value_has_the_form_that_django_gives_it(value):
    assert to_json([value]) == django_json([value]).encode()


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1))
def test_numbers_come_back_as_they_were(number):
    assert json.loads(to_json(number)) == number


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_becomes_null(number):
    assert to_json({"a": [number]}) == b'{"a":[null]}'


def test_a_lazy_translation_is_translated_when_it_is_encoded():
    title = gettext_lazy("January")
    with override("de"):
        assert to_text([title]) == '["Januar"]'
    assert to_text([title]) == '["January"]'


def test_dataclasses_have_a_form_of_their_own():
    @dataclass
    class Order:
        id: int
        placed: date

    assert to_text(Order(7, date(2026, 2, 3))) == '{"id":7,"placed":"2026-02-03"}'


def test_more_types_can_be_registered():
    class Money:
        pass

    class Euro(Money):
        pass

    json_default.register(Money, lambda value: "money")
    assert to_text([Euro()]) == '["money"]'


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("a\nb", "a\nb"),
        ("", ""),
        ('{"a": 1}', '{"a": 1}'),
        (mark_safe("<b>"), "<b>"),
        (Level.INFO, "info"),
        ("é".encode(), "é"),
        (bytearray(b"a"), "a"),
        (memoryview(b"abc")[1:], "bc"),
        (None, "null"),
        (1.0, "1.0"),
        ({"a": "é"}, '{"a":"é"}'),
    ],
)
def test_text_goes_as_it_is_and_the_rest_as_json(data, text):
    assert to_text(data) == text
    assert type(to_text(data)) is str


def endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({1, 2}, "data: not JSON: set has no JSON form"),
        ({"a": b"b"}, "data: not JSON: bytes has no JSON form"),
        (1j, "data: not JSON: complex has no JSON form"),
        (time(1, tzinfo=UTC), "data: not JSON: a time with a zone has no JSON form"),
        (2**64, "data: not JSON: Integer exceeds 64-bit range"),
        (-(2**63) - 1, "data: not JSON: Integer exceeds 64-bit range"),
        ({"a\ud800": 1}, "data: not JSON: str is not valid UTF-8: surrogates not allowed"),
        ({(1, 2): 3}, "data: not JSON: Dict key must a type serializable with OPT_NON_STR_KEYS"),
        (endless(), "data: not JSON: Recursion limit reached"),
        (b"\xff", "data: bytes must be UTF-8; send binary data as base64"),
        ("a\udc80", "data: must not contain a lone surrogate"),
    ],
)
def test_data_that_can_not_be_sent_is_refused(data, text):
    with pytest.raises(ValueError) as refusal:
        to_text(data)
    assert str(refusal.value) == text


def test_the_field_of_a_lone_surrogate_is_named():
    assert require_utf8("id", "é") == "é"
    with pytest.raises(ValueError) as refusal:
        require_utf8("id", "\ud800")
    assert str(refusal.value) == "id: must not contain a lone surrogate"

"""Payloads: what a publisher hands over as data, as the text that goes on the wire."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import singledispatch
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


@singledispatch
def json_default(value: object) -> Any:
    """Give the JSON form of a type that JSON does not know; register more types with ``.register``.

    The forms are those of Django's ``DjangoJSONEncoder``. Raises TypeError for an unknown type.
    """
    raise TypeError(f"{type(value).__name__} has no JSON form")


json_default.register(Decimal, str)
json_default.register(tuple, list)  # a named tuple; orjson takes only plain ones
json_default.register(date, lambda value: value.isoformat())


@json_default.register
def _datetime(value: datetime) -> str:
    text = value.isoformat()
    if value.microsecond:  # ECMA-262 knows milliseconds, no more
        text = text[:23] + text[26:]
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


@json_default.register
def _time(value: time) -> str:
    if value.tzinfo is not None:
        raise TypeError("a time with a zone has no JSON form")
    return value.isoformat()[:12]


@json_default.register
def _duration(value: timedelta) -> str:
    """ISO 8601, as ``django.utils.duration.duration_iso_string`` writes it."""
    sign = "-" if value < timedelta(0) else ""
    whole = abs(value)
    minutes, seconds = divmod(whole.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{whole.microseconds:06d}" if whole.microseconds else ""
    return f"{sign}P{whole.days}DT{hours:02d}H{minutes:02d}M{seconds:02d}{fraction}S"


def to_json(value: Any) -> bytes:
    """Encode a value as compact UTF-8 JSON on one line; NaN and infinities become null.

    Raises ValueError where the value has no JSON form.
    """
    try:
        return orjson.dumps(value, json_default, _OPTIONS)
    except orjson.JSONEncodeError as error:
        cause = error.__cause__ or error
        raise ValueError(f"data: not JSON: {cause}") from error


def to_text(data: Any) -> str:
    """Give the text of a payload: a str as it is, bytes as UTF-8, anything else as JSON.

    Raises ValueError for bytes that are not UTF-8, lone surrogates, and values without a JSON form.
    """
    if isinstance(data, str):
        return require_utf8("data", data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        try:
            return bytes(data).decode()
        except UnicodeDecodeError as error:
            raise ValueError("data: bytes must be UTF-8; send binary data as base64") from error
    return to_json(data).decode()


def require_utf8(field: str, text: str) -> str:
    """Return the text as a plain str, or raise a ValueError naming the field if UTF-8 can't carry it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field}: must not contain a lone surrogate") from error
    return str.__str__(text)  # its characters; str() of an enum member gives the member's name

"""Header names in lower case, where HTTP/3 demands it and nowhere else."""

import pytest

from sse_app.headers import lower_header_names


@pytest.mark.parametrize(
    ("version", "name"), [("3", b"cache-control"), ("2", b"Cache-Control"), ("1.1", b"Cache-Control")]
)
async def test_names_are_lowered_over_http_3(version, name):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"A B")]})
        await send({"type": "http.response.body", "body": b"As It Is"})

    sent = []

    async def send(message):
        sent.append(message)

    await lower_header_names(application)({"http_version": version}, None, send)
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": [(name, b"A B")]},
        {"type": "http.response.body", "body": b"As It Is"},
    ]

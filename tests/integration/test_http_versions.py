"""Event streams over HTTP/2 and HTTP/3: hypercorn serves the demo, clients of others read it."""

import asyncio
import contextlib
import ipaddress
import ssl
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from httpx_sse import aconnect_sse

from sse_app.events import EventDecoder
from tests.services import copy_database
from tests.site import COMMANDS, DEADLINE, Site, token_of

STREAM = "/sse/topics/notifications/"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Give the paths of a certificate of this machine's own address, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture(scope="module")
def server(migrated, certificate, tmp_path_factory):
    """The demo on hypercorn, over TLS on TCP and over QUIC on the same port."""
    folder = tmp_path_factory.mktemp("versions")
    cert, key = certificate
    COMMANDS["hypercorn-tls"] = [
        *("hypercorn", "--certfile", str(cert), "--keyfile", str(key)),
        *("--bind", "127.0.0.1:{port}", "--quic-bind", "127.0.0.1:{port}", "{application}"),
    ]
    site = Site(folder, DATABASE_URL=copy_database(migrated, folder))
    server = site.start("hypercorn-tls")
    server.base = f"https://127.0.0.1:{server.port}"
    server.trust = ssl.create_default_context(cafile=str(cert))
    wait_until_live(server)
    yield server
    site.close()
    del COMMANDS["hypercorn-tls"]


def wait_until_live(server):
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        assert server.child.poll() is None, server.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.base}/sse/health/live/", verify=server.trust).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(server.log.read_text())


@pytest.fixture
async def client(server):
    """A client that speaks HTTP/2, signed in through the admin's own form."""
    async with httpx.AsyncClient(
        base_url=server.base, http2=True, http1=False, verify=server.trust, timeout=DEADLINE, trust_env=False
    ) as client:
        page = await client.get("/admin/login/")
        form = {"username": "admin", "password": "admin", **token_of(page)}
        answer = await client.post("/admin/login/", data=form, headers={"Referer": str(page.url)})
        assert answer.status_code == 302, answer
        yield client


async def publish(client, data):
    headers = {"X-CSRFToken": client.cookies["csrftoken"], "Referer": str(client.base_url)}
    answer = await client.post(STREAM, json={"data": data}, headers=headers)
    assert (answer.status_code, answer.http_version) == (201, "HTTP/2")
    return answer.json()["id"]


async def test_a_stream_delivers_and_resumes_over_http_2(client):
    async with asyncio.timeout(DEADLINE), aconnect_sse(client, "GET", STREAM) as source:
        assert source.response.http_version == "HTTP/2"
        assert source.response.headers["content-type"] == "text/event-stream"
        assert "connection" not in source.response.headers  # which HTTP/2 forbids
        events = source.aiter_sse()
        assert (await anext(events)).event == "cursor"
        sent = await publish(client, "one")  # over the same connection
        event = await anext(events)
        assert (event.data, event.id) == ("one", sent)
    await publish(client, "missed")
    headers = {"Last-Event-ID": event.id}
    async with asyncio.timeout(DEADLINE), aconnect_sse(client, "GET", STREAM, headers=headers) as source:
        events = source.aiter_sse()
        assert [(await anext(events)).data for _ in range(2)] == ["", "missed"]


async def test_more_streams_share_one_connection_than_http_1_has_connections(client):
    """Browsers open six connections to a site over HTTP/1.1."""
    async with asyncio.timeout(DEADLINE), contextlib.AsyncExitStack() as stack:
        sources = [await stack.enter_async_context(aconnect_sse(client, "GET", STREAM)) for _ in range(20)]
        streams = [source.aiter_sse() for source in sources]
        assert {(await anext(events)).event for events in streams} == {"cursor"}
        await publish(client, "to all")
        assert {(await anext(events)).data for events in streams} == {"to all"}


async def test_http_3_is_advertised_where_it_is_served(client, server):
    answer = await client.get("/sse/health/live/")
    assert f'h3=":{server.port}"' in answer.headers["alt-svc"]


class Reader(QuicConnectionProtocol):
    """A client of HTTP/3 that reads one event stream."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.headers = {}
        self.decoder = EventDecoder()
        self.events = asyncio.Queue()

    def ask(self, server, *extra):
        stream = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", f"127.0.0.1:{server.port}".encode()),
            (b":path", STREAM.encode()),
            *extra,
        ]
        self.http.send_headers(stream, headers, end_stream=True)
        self.transmit()

    def quic_event_received(self, event):
        for found in self.http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self.headers |= dict(found.headers)
            elif isinstance(found, DataReceived):
                for event in self.decoder.feed(found.data):
                    if event.data is not None:
                        self.events.put_nowait(event)


def quic(server, certificate):
    trust = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, cafile=str(certificate[0]))
    return connect("127.0.0.1", server.port, configuration=trust, create_protocol=Reader)


async def test_a_stream_delivers_and_resumes_over_http_3(client, server, certificate):
    async with asyncio.timeout(DEADLINE), quic(server, certificate) as reader:
        reader.ask(server)
        assert (await reader.events.get()).event == "cursor"
        assert reader.headers[b":status"] == b"200"
        assert reader.headers[b"content-type"] == b"text/event-stream"
        sent = await publish(client, "one")
        event = await reader.events.get()
        assert (event.data, event.id) == ("one", sent)
    await publish(client, "missed")
    async with asyncio.timeout(DEADLINE), quic(server, certificate) as reader:
        reader.ask(server, (b"last-event-id", sent.encode()))
        assert [(await reader.events.get()).data for _ in range(2)] == ["", "missed"]

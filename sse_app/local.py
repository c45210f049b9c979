"""The hub of the running loop, connected to the log and the channel layer of the settings."""

from sse_app.conf import conf
from sse_app.eventlog import get_event_log
from sse_app.hub import Hub, HubOptions, hub_of_loop
from sse_app.outbox import channel_layer
from sse_app.relay import Relay


def get_hub() -> Hub:
    """Give the hub of the running loop."""
    return hub_of_loop(_make_hub)


def _make_hub() -> Hub:
    options = HubOptions(
        ring_entries=conf.SSE_RING_ENTRIES, ring_bytes=conf.SSE_RING_BYTES, tick=conf.SSE_TICK
    )
    hub: Hub
    relay = Relay(channel_layer(), lambda bell: hub.hint(bell))
    hub = Hub(get_event_log(), relay, options)
    return hub

"""Live streams for Django: publish anywhere, and every reader gets each event once, in order."""

from sse_app.attendance import apresence, presence
from sse_app.events import ServerSentEvent
from sse_app.messages import Message
from sse_app.negotiation import negotiate
from sse_app.permissions import TopicPolicy, user_topic
from sse_app.publishing import (
    EventTooLarge,
    Outgoing,
    Published,
    apublish,
    apublish_many,
    listeners,
    publish,
    publish_many,
)
from sse_app.responses import EventSourceResponse, NDJSONResponse
from sse_app.resuming import last_event_id, last_event_id_bytes
from sse_app.subscribing import EARLIEST, acurrent_cursor, current_cursor, subscribe
from sse_app.subscription import Subscription
from sse_app.topics import IllegalTopic, TooManyTopics, UnknownTopic

__all__ = [
    "EARLIEST",
    "EventSourceResponse",
    "EventTooLarge",
    "IllegalTopic",
    "Message",
    "NDJSONResponse",
    "Outgoing",
    "Published",
    "ServerSentEvent",
    "Subscription",
    "TooManyTopics",
    "TopicPolicy",
    "UnknownTopic",
    "acurrent_cursor",
    "apresence",
    "apublish",
    "apublish_many",
    "current_cursor",
    "last_event_id",
    "last_event_id_bytes",
    "listeners",
    "negotiate",
    "presence",
    "publish",
    "publish_many",
    "subscribe",
    "user_topic",
]

__version__ = "0.1.0"

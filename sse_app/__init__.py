"""Live streams for Django: publish anywhere, and every reader gets each event once, in order."""

from sse_app.events import ServerSentEvent
from sse_app.permissions import TopicPolicy, user_topic
from sse_app.publishing import EventTooLarge, Published, apublish, publish
from sse_app.responses import EventSourceResponse
from sse_app.subscribing import Message, Subscription, TooManyTopics, subscribe
from sse_app.topics import IllegalTopic, UnknownTopic

__all__ = [
    "EventSourceResponse",
    "EventTooLarge",
    "IllegalTopic",
    "Message",
    "Published",
    "ServerSentEvent",
    "Subscription",
    "TooManyTopics",
    "TopicPolicy",
    "UnknownTopic",
    "apublish",
    "publish",
    "subscribe",
    "user_topic",
]

__version__ = "0.1.0"

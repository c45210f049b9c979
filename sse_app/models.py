"""Rows: the heads and the events of the ORM log, and the notifications that staff send."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from sse_app.conf import conf, topic_rules
from sse_app.payloads import to_json
from sse_app.positions import GENESIS
from sse_app.topics import IllegalTopic, UnknownTopic

# What a notification's payload has besides its title and text; a user name has up to 150 characters.
PAYLOAD_FRAME_BYTES = 1024


class Topic(models.Model):
    """The head of one topic's log; it outlives the events."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    seq = models.BigIntegerField(_("number"), default=GENESIS.seq)
    tag = models.CharField(_("tag"), max_length=8, default=GENESIS.tag)
    prev = models.CharField(_("previous tag"), max_length=8, default=GENESIS.tag)

    class Meta:
        verbose_name = _("topic")
        verbose_name_plural = _("topics")

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """One event of the log. ``data`` is the text as it goes out: a JSONField would rewrite it."""

    topic = models.ForeignKey(Topic, on_delete=models.CASCADE, related_name="events", verbose_name=_("topic"))
    seq = models.BigIntegerField(_("number"))
    tag = models.CharField(_("tag"), max_length=8)
    prev = models.CharField(_("previous tag"), max_length=8)
    event = models.CharField(_("event"), max_length=100, blank=True)
    data = models.TextField(_("data"))
    created_at = models.DateTimeField(_("time"), auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("event log")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["topic", "seq"], name="sse_event_position")]
        permissions = [("publish_event", _("Can publish events over HTTP"))]

    def __str__(self) -> str:
        return f"{self.seq}-{self.tag}"


class IdempotencyKey(models.Model):
    """The name that a publisher gave to an event, so that a retry does not publish it twice."""

    topic = models.ForeignKey(Topic, on_delete=models.CASCADE, related_name="keys", verbose_name=_("topic"))
    key = models.CharField(_("key"), max_length=200)
    seq = models.BigIntegerField(_("number"))
    tag = models.CharField(_("tag"), max_length=8)
    prev = models.CharField(_("previous tag"), max_length=8)
    created_at = models.DateTimeField(_("time"), auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = [models.UniqueConstraint(fields=["topic", "key"], name="sse_idempotency_key")]

    def __str__(self) -> str:
        return self.key


class PresenceRoll(models.Model):
    """How many readers a topic has in one process; what a process has not renewed does not count."""

    process = models.CharField(_("process"), max_length=32)
    topic = models.CharField(_("topic"), max_length=100, db_index=True)
    readers = models.PositiveIntegerField(_("readers"))
    users = models.JSONField(_("users"), default=list)
    seen_at = models.DateTimeField(_("seen"), db_index=True)
    changed_at = models.DateTimeField(_("changed"), db_index=True)

    class Meta:
        verbose_name = _("presence")
        verbose_name_plural = _("presence")
        constraints = [models.UniqueConstraint(fields=["process", "topic"], name="sse_presence_roll")]

    def __str__(self) -> str:
        return f"{self.topic}: {self.readers}"


def validate_topic(name: str) -> None:
    """Refuse a topic that is illegal or not declared."""
    try:
        topic_rules().rule(name)
    except (IllegalTopic, UnknownTopic) as error:
        raise ValidationError(str(error)) from error


class Notification(models.Model):
    """A message that staff send from the admin to everyone who reads a topic."""

    class Level(models.TextChoices):
        INFO = "info", _("Info")
        SUCCESS = "success", _("Success")
        WARNING = "warning", _("Warning")
        ERROR = "error", _("Error")

    topic = models.CharField(_("topic"), max_length=100, default="notifications", validators=[validate_topic])
    title = models.CharField(_("title"), max_length=200)
    body = models.TextField(_("text"), blank=True)
    level = models.CharField(_("level"), max_length=10, choices=Level, default=Level.INFO)
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("sender"),
    )
    created_at = models.DateTimeField(_("time"), auto_now_add=True)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Refuse what would be too large to publish."""
        room = conf.SSE_MAX_EVENT_BYTES - PAYLOAD_FRAME_BYTES
        size = len(to_json([self.title, self.body]))
        if size > room:
            raise ValidationError({"body": f"title and text take {size} bytes; {room} is the most"})

    def payload(self) -> dict[str, Any]:
        """Give what readers get as JSON."""
        return {
            "id": self.pk,
            "title": self.title,
            "body": self.body,
            "level": self.level,
            "sender": self.sender.get_username() if self.sender else None,
            "timestamp": self.created_at,
        }

"""Rows: the heads and the events of the ORM log, and notifications with what was read of them."""

import re
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, Value
from django.utils.translation import gettext_lazy as _

from sse_app.conf import conf, topic_rules
from sse_app.payloads import to_json
from sse_app.positions import GENESIS
from sse_app.topics import IllegalTopic, UnknownTopic

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

# What a notification's payload has besides its title, text and link; a user name has up to 150 characters.
PAYLOAD_FRAME_BYTES = 1024
# A path of this site, or an address that a browser opens and does not run.
LINK = re.compile(r"(?:/(?![/\\])|https?://)[^\s\x00-\x1f]*", re.I)


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


def validate_link(url: str) -> None:
    """Refuse what is neither a path of this site nor an http address."""
    if not LINK.fullmatch(url):
        raise ValidationError(_("must begin with /, http:// or https://"))


def shared_topic() -> str:
    """Give the topic of what is for everyone."""
    return conf.SSE_NOTIFICATIONS_TOPIC or ""


class NotificationQuerySet(models.QuerySet["Notification"]):
    """What is for whom, and what of it is unread."""

    def for_user(self, user: "AbstractBaseUser | AnonymousUser") -> "NotificationQuerySet":
        """Give what was sent to the user and to everyone; ``read`` says whether the user has read it.

        What everyone got before the user's ``date_joined``, where the user model has that, counts as read.
        """
        to_all = Q(recipient=None, topic=shared_topic())
        if user.pk is None:
            return self.filter(to_all).annotate(read=Value(False))
        marks = NotificationRead.objects.filter(notification=OuterRef("pk"), user=user.pk)
        read = Q(read_at__isnull=False) | Q(Exists(marks))
        if joined := getattr(user, "date_joined", None):
            read |= Q(recipient=None, created_at__lt=joined)
        read_or_not = ExpressionWrapper(read, output_field=BooleanField())
        return self.filter(to_all | Q(recipient=user.pk)).annotate(read=read_or_not)

    def unread(self) -> "NotificationQuerySet":
        """Give the unread ones of what ``for_user`` gave."""
        return self.filter(Q(read=False))


class Notification(models.Model):
    """A message for one user or, without a recipient, for everyone who reads a topic."""

    class Level(models.TextChoices):
        INFO = "info", _("Info")
        SUCCESS = "success", _("Success")
        WARNING = "warning", _("Warning")
        ERROR = "error", _("Error")

    topic = models.CharField(
        _("topic"), max_length=100, default=shared_topic, blank=True, validators=[validate_topic]
    )
    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_index=False,  # one of those below begins with it
        related_name="+",
        verbose_name=_("recipient"),
        help_text=_("Leave empty to send to everyone who reads the topic."),
    )
    title = models.CharField(_("title"), max_length=200)
    body = models.TextField(_("text"), blank=True)
    level = models.CharField(_("level"), max_length=10, choices=Level, default=Level.INFO)
    url = models.CharField(_("link"), max_length=500, blank=True, validators=[validate_link])
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
    read_at = models.DateTimeField(_("read by the recipient"), null=True, blank=True, editable=False)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["recipient", "-id"], name="sse_notification_recipient"),
            models.Index(fields=["recipient"], condition=Q(read_at=None), name="sse_notification_unread"),
        ]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Let the recipient win over the topic, and refuse what would be too large to publish."""
        if self.recipient_id is not None:
            self.topic = ""
        elif not self.topic:
            raise ValidationError({"topic": _("This field is required.")})
        room = conf.SSE_MAX_EVENT_BYTES - PAYLOAD_FRAME_BYTES
        size = len(to_json([self.title, self.body])) + len(self.url.encode())
        if size > room:
            raise ValidationError({"body": f"title and text take {size} bytes; {room} is the most"})

    def payload(self) -> dict[str, Any]:
        """Give what readers get as JSON."""
        return {
            "id": self.pk,
            "title": self.title,
            "body": self.body,
            "level": self.level,
            "url": self.url,
            "sender": self.sender.get_username() if self.sender else None,
            "timestamp": self.created_at,
        }


class NotificationRead(models.Model):
    """That one user has read a notification which is for everyone."""

    notification = models.ForeignKey(
        Notification,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="reads",
        verbose_name=_("notification"),
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("user")
    )
    read_at = models.DateTimeField(_("time"), auto_now_add=True)

    class Meta:
        verbose_name = _("read mark")
        verbose_name_plural = _("read marks")
        constraints = [models.UniqueConstraint(fields=["notification", "user"], name="sse_read_once")]

    def __str__(self) -> str:
        return f"{self.notification_id}: {self.user_id}"

"""Topics: legal names, the patterns that declare them, their kinds and channel-layer groups."""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

_LEGAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
# A channel-layer group name has fewer than 100 characters; longer ones are hashed.
_LONGEST_PLAIN_GROUP = 90
_OPTIONS = ("kind", "reset_to", "keep", "max_age", "snapshot", "presence")
_Choice = TypeVar("_Choice", bound=StrEnum)


class IllegalTopic(ValueError):
    """The name can't be that of a topic."""


class UnknownTopic(LookupError):
    """The name is legal, but no pattern of ``SSE_TOPICS`` declares it."""


class TooManyTopics(ValueError):
    """The stream asks for more topics than ``SSE_MAX_TOPICS``."""


class TopicKind(StrEnum):
    """What happens to an event of the topic once it has been sent."""

    DURABLE = "durable"  # it is in the log: readers resume, nothing is lost in silence
    EPHEMERAL = "ephemeral"  # it is only in memory: ticks, typing, metrics
    LATEST = "latest"  # only the newest one is kept, and a new reader gets it at once


class ResetTo(StrEnum):
    """Where a reader goes on whose position can't be continued."""

    HEAD = "head"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class TopicRule:
    """One entry of ``SSE_TOPICS``: a pattern and what holds for the topics that match it."""

    pattern: str
    kind: TopicKind = TopicKind.DURABLE
    reset_to: ResetTo = ResetTo.HEAD
    keep: int | None = None  # entries that sse_trim leaves
    max_age: float | None = None  # seconds, after which sse_trim removes an entry
    snapshot: str | None = None  # path of the function that gives what a new reader gets first
    presence: bool = False  # whether its readers are counted

    @classmethod
    def parse(cls, pattern: object, options: object) -> "TopicRule":
        """Read an entry of the setting. Raises ValueError saying what is wrong with it."""
        if not isinstance(pattern, str) or not _LEGAL.fullmatch(_PLACEHOLDER.sub("x", pattern)):
            raise ValueError(f"{pattern!r} is not a topic pattern, such as 'orders' or 'room.{{name}}'")
        if not isinstance(options, Mapping):
            raise ValueError(f"{pattern!r}: the options must be a dict, not {options!r}")
        for name in options:
            if name not in _OPTIONS:
                raise ValueError(f"{pattern!r}: unknown option {name!r}; known are {', '.join(_OPTIONS)}")
        return cls(
            pattern,
            _choice(pattern, "kind", TopicKind, options.get("kind", TopicKind.DURABLE)),
            _choice(pattern, "reset_to", ResetTo, options.get("reset_to", ResetTo.HEAD)),
            _amount(pattern, "keep", options.get("keep"), "a whole number", int),
            _amount(pattern, "max_age", options.get("max_age"), "a number of seconds", int, float),
            _path(pattern, "snapshot", options.get("snapshot")),
            _flag(pattern, "presence", options.get("presence", False)),
        )

    def regex(self) -> re.Pattern[str]:
        """Give the expression for the whole name; a placeholder is one part, without a dot."""
        parts = _PLACEHOLDER.split(self.pattern)
        return re.compile("[A-Za-z0-9_-]+".join(re.escape(part) for part in parts))


class TopicRules:
    """The declared topics; the first pattern that matches a name decides."""

    def __init__(self, setting: object) -> None:
        if not isinstance(setting, Mapping):
            raise ValueError(f"must be a dict of patterns and their options, not {setting!r}")
        self.rules = [TopicRule.parse(pattern, options) for pattern, options in setting.items()]
        self._compiled = [(rule.regex(), rule) for rule in self.rules]

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic. Raises IllegalTopic or UnknownTopic."""
        require_legal(topic)
        for regex, rule in self._compiled:
            if regex.fullmatch(topic):
                return rule
        raise UnknownTopic(f"no topic {topic!r} is declared")


def require_legal(topic: Any) -> str:
    """Return the name, or raise IllegalTopic."""
    if not isinstance(topic, str) or not _LEGAL.fullmatch(topic):
        shown = repr(topic) if len(str(topic)) <= 100 else f"of {len(str(topic))} characters"
        raise IllegalTopic(
            f"illegal topic {shown}: 1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, "
            "the first a letter or digit"
        )
    return topic


def group_name(topic: str) -> str:
    """Give the channel-layer group of a topic."""
    if len(topic) <= _LONGEST_PLAIN_GROUP:
        return f"sse.t.{topic}"
    return f"sse.h.{hashlib.sha256(topic.encode()).hexdigest()}"


def _choice(pattern: str, option: str, kinds: type[_Choice], value: Any) -> _Choice:
    try:
        return kinds(value)
    except ValueError:
        known = ", ".join(kinds)
        raise ValueError(f"{pattern!r}: {option} {value!r} is not one of {known}") from None


def _amount(pattern: str, option: str, value: Any, meant: str, *kinds: Any) -> Any:
    number = value if isinstance(value, kinds) and not isinstance(value, bool) else -1
    if value is not None and not 0 <= number < math.inf:
        raise ValueError(f"{pattern!r}: {option} must be {meant} and not negative, not {value!r}")
    return value


def _path(pattern: str, option: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and "." in value):
        raise ValueError(f"{pattern!r}: {option} must be a dotted path, not {value!r}")
    return value


def _flag(pattern: str, option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{pattern!r}: {option} must be True or False, not {value!r}")
    return value

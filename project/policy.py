"""Who may do what in the demo."""

from typing import Any

from sse_app import TopicPolicy
from sse_app.permissions import Scope, User


class DemoPolicy(TopicPolicy):
    """Anyone reads notifications and demo topics; rooms are for those who signed in."""

    def can_subscribe(self, user: User, scope: Scope, topic: str) -> bool:
        """Whether the user may read the topic."""
        if topic in ("notifications", "config") or topic.startswith("demo."):
            return True
        if topic.startswith(("room.", "presence.room.")):
            return user.is_authenticated
        return bool(super().can_subscribe(user, scope, topic))

    def can_see_presence(self, user: User, scope: Scope, topic: str) -> Any:
        """Whether the user may see who reads the topic: the members of a room see each other."""
        if topic.startswith("room."):
            return user.is_authenticated
        return super().can_see_presence(user, scope, topic)

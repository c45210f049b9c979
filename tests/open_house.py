"""A policy and a snapshot for the tests of the browser client: anyone reads, and publishes."""

from sse_app import ServerSentEvent, TopicPolicy


class OpenPolicy(TopicPolicy):
    """Closes what is called so, and nothing else."""

    def can_subscribe(self, user, scope, topic):
        return not topic.endswith(".closed")

    def can_publish(self, user, scope, topic):
        return True


def snapshot(user, scope, topic):
    yield ServerSentEvent({"of": topic}, event="shown")

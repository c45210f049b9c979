"""The demo's application; besides, it tells how often the tails of its process have read the log anew."""

from project.asgi import application as demo
from sse_app.hub import hubs
from sse_app.tail import DurableTail
from tests.faults.plan import REPAIRS


class CountedTail:
    """Keeps the count of tails that are closed, because nobody has read their topic for a while."""

    repairs = 0
    close = DurableTail.close

    @staticmethod
    async def count_and_close(tail):
        CountedTail.repairs += tail.repairs
        await CountedTail.close(tail)


DurableTail.close = CountedTail.count_and_close


async def application(scope, receive, send):
    if scope["type"] != "http" or scope["path"] != REPAIRS:
        await demo(scope, receive, send)
        return
    tails = [tail for hub in hubs() for tail in hub.tails.values() if isinstance(tail, DurableTail)]
    body = str(CountedTail.repairs + sum(tail.repairs for tail in tails)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

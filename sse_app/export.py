"""Export: the rows of a queryset of any size, in constant memory.

Two ways. *Keyset pages*, the default, read ``pk > last ORDER BY pk LIMIT n`` again and again: no
connection is held while a slow client reads, it works behind a transaction pooler, and an export
that was cut goes on ``after`` its last row. Rows that change meanwhile may be missed or come in their
new state. A *snapshot* is one query read through the ORM's cursor: one consistent view, which holds
a thread and a connection for as long as the client takes.

Example::

    return NDJSONResponse(rows(Order.objects.filter(paid=True), fields=["id", "total"]))
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, nullcontext
from functools import partial
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.db.models import CompositePrimaryKey, F, QuerySet
from django.db.models.query import ModelIterable, ValuesIterable
from django.db.models.sql import Query

from sse_app import database
from sse_app.payloads import to_json

PAGE_ROWS = 1000
# Under this name the primary key travels with each row; it is taken out again.
_KEY = "sse_export_key"
_ONE_VIEW = {"postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "sqlite": "BEGIN DEFERRED"}

Row = Any
Fields = Iterable[str] | Callable[[Any], Row]
Give = Callable[[list[Row]], Any]


class Rows:
    """The rows as an async iterator; ``blocks`` gives them as encoded lines, a page at a time."""

    def __init__(self, read: Callable[[Give], AsyncIterator[Any]]) -> None:
        self._read = read

    async def __aiter__(self) -> AsyncIterator[Row]:
        async with aclosing(self._read(list)) as pages:  # type: ignore[type-var]
            async for page in pages:
                for row in page:
                    yield row

    async def blocks(self) -> AsyncIterator[bytes]:
        """Give the pages as lines of JSON, encoded in the thread that has read them."""
        async with aclosing(self._read(_encode)) as pages:  # type: ignore[type-var]
            async for lines in pages:
                yield lines


def rows(
    queryset: QuerySet[Any],
    fields: Fields | None = None,
    *,
    after: Any = None,
    snapshot: bool = False,
    page: int = PAGE_ROWS,
) -> Rows:
    """Export a queryset; give the result to ``NDJSONResponse``, or iterate over it.

    ``fields``: names as ``values()`` takes them, or a function from an instance to a JSON-able value,
    which may use what ``prefetch_related`` has fetched; by default all columns and annotations.
    ``after``: go on after this primary key. ``snapshot``: read one consistent view with a cursor.
    ``page``: rows read at once.

    A queryset that can't be cut into pages by its primary key (sliced, combined, grouped, distinct,
    ordered otherwise, locked, or with rows multiplied by a join) is read as a snapshot. Raises
    TypeError for what is no queryset, and ValueError where neither way is right.
    """
    if not isinstance(queryset, QuerySet):
        raise TypeError(f"rows() needs a queryset, not {type(queryset).__name__}")
    if page < 1:
        raise ValueError(f"page: must be at least 1, not {page}")
    convert = fields if callable(fields) else None
    selected = _instances(queryset) if callable(fields) else _values(queryset, fields)
    grouped = isinstance(queryset.query.group_by, tuple)  # by values(): an aggregate alone groups by the key
    obstacle = "to be read as a snapshot" if snapshot else _obstacle(selected, grouped)
    if obstacle is None:
        return Rows(_Keyset(selected, convert, _key(selected, after), page).read)
    if after is not None:
        raise ValueError(f"after: the queryset is {obstacle}, so there is no key to go on after")
    if connections.settings[selected.db].get("DISABLE_SERVER_SIDE_CURSORS"):
        raise ValueError(
            f"the queryset is {obstacle}, which takes a server-side cursor, and DISABLE_SERVER_SIDE_CURSORS "
            "is set: all rows would be held in memory"
        )
    return Rows(_Snapshot(selected, convert, page).read)


class _Keyset:
    """Pages by primary key, each read by itself in one of the shared threads."""

    def __init__(
        self, queryset: QuerySet[Any], convert: Callable[[Any], Row] | None, after: Any, size: int
    ) -> None:
        queryset = queryset.order_by("pk")
        self._queryset = queryset if convert else _with_key(queryset)
        self._convert = convert
        self._after = after
        self._size = size

    async def read(self, give: Give) -> AsyncIterator[Any]:
        last, count = self._after, self._size
        while count == self._size:
            page, count, last = await database.read(partial(self._page, last, give))
            if count:
                yield page

    def _page(self, last: Any, give: Give) -> tuple[Any, int, Any]:
        """Read one page; give it, the number of its rows, and its last key."""
        found = self._queryset if last is None else self._queryset.filter(pk__gt=last)
        items = list(found[: self._size])
        if self._convert is None:
            keys = [row.pop(_KEY) for row in items]
        else:
            keys = [item.pk for item in items]
            items = [self._convert(item) for item in items]
        return give(items), len(items), keys[-1] if keys else last


class _Snapshot:
    """One query, read with a cursor that is opened, advanced and closed in a thread of its own."""

    def __init__(self, queryset: QuerySet[Any], convert: Callable[[Any], Row] | None, size: int) -> None:
        self._queryset = queryset
        self._convert = convert
        self._size = size

    async def read(self, give: Give) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="sse-snapshot")
        cursor = self._cursor()

        def page() -> tuple[Any, int]:
            found = list(islice(cursor, self._size))
            return give(found), len(found)

        try:
            count = self._size
            while count == self._size:
                found, count = await loop.run_in_executor(thread, page)
                if count:
                    yield found
        finally:
            thread.submit(_close, cursor)  # in the same thread, once a fetch under way has ended
            thread.shutdown(wait=False)

    def _cursor(self) -> Iterator[Row]:
        connection = connections[self._queryset.db]
        # PostgreSQL would copy the whole result first, outside a transaction. SQLite would lock out
        # all writers inside Django's. What prefetch_related() asks for is to come from the same view.
        on_postgresql = connection.vendor == "postgresql"
        with transaction.atomic(using=connection.alias) if on_postgresql else nullcontext():
            if connection.vendor in _ONE_VIEW:
                connection.cursor().execute(_ONE_VIEW[connection.vendor])
            iterator = self._queryset.iterator(chunk_size=self._size)
            with closing(iterator):  # type: ignore[type-var]
                for item in iterator:
                    yield self._convert(item) if self._convert else item


def _close(cursor: Iterator[Row]) -> None:
    try:
        cursor.close()  # type: ignore[attr-defined]
    finally:
        connections.close_all()


def _encode(page: list[Row]) -> bytes:
    return b"".join([_line(row) + b"\n" for row in page])


def _line(row: Row) -> bytes:
    try:
        return to_json(row)
    except ValueError:  # a JSONField may hold numbers beyond 64 bits and lone surrogates
        return json.dumps(row, cls=DjangoJSONEncoder, separators=(",", ":"), allow_nan=False).encode()


def _instances(queryset: QuerySet[Any]) -> QuerySet[Any]:
    if queryset._iterable_class is not ModelIterable:
        raise ValueError("fields: a function needs a queryset of instances, without values()")
    return queryset


def _values(queryset: QuerySet[Any], fields: Iterable[str] | None) -> QuerySet[Any]:
    kind = queryset._iterable_class
    if kind not in (ModelIterable, ValuesIterable):
        raise ValueError("the queryset must be one of instances or values(), not of values_list()")
    if queryset._prefetch_related_lookups:  # type: ignore[attr-defined]
        raise ValueError("fields: prefetch_related() needs a function that makes a row of an instance")
    return queryset if fields is None and kind is ValuesIterable else queryset.values(*fields or ())


def _with_key(queryset: QuerySet[Any]) -> QuerySet[Any]:
    query = queryset.query
    names = query.selected or [*query.extra_select, *query.values_select, *query.annotation_select]
    return queryset.values(*names, **{_KEY: F("pk")})


def _key(queryset: QuerySet[Any], after: Any) -> Any:
    meta = queryset.model._meta
    try:
        return None if after is None else meta.pk.to_python(after)
    except ValidationError as error:
        raise ValueError(f"after: {after!r} is not the primary key of a {meta.verbose_name}") from error


def _obstacle(queryset: QuerySet[Any], grouped: bool) -> str | None:
    """Say why a queryset can't be cut into pages by its primary key; None if it can."""
    query = queryset.query
    key = queryset.model._meta.pk
    by_key = query.order_by in [(), ("pk",), (key.name,)] and query.standard_ordering
    obstacles = {
        "sliced": query.is_sliced,
        "combined": bool(query.combinator),
        "grouped": grouped,
        "distinct": query.distinct,
        "ordered otherwise": query.extra_order_by or not by_key,
        "locked by select_for_update()": query.select_for_update,
        "keyed by several columns": isinstance(key, CompositePrimaryKey),
        "multiplied by a join": query.extra_tables or _is_multiplied(query),
    }
    return next((obstacle for obstacle, met in obstacles.items() if met), None)


def _is_multiplied(query: Query) -> bool:
    """Whether a join to many rows may give a primary key more than once."""
    to_many: set[str] = set()
    for alias, table in query.alias_map.items():  # a table comes after the one that it is joined to
        join = getattr(table, "join_field", None)
        if table.parent_alias in to_many or (join and (join.one_to_many or join.many_to_many)):
            to_many.add(alias)
    if query.group_by is None:
        return bool(to_many)
    ungrouped = [one for one in query.annotation_select.values() if not one.contains_aggregate]
    columns = query._gen_cols([*query.select, *ungrouped], include_external=True)  # type: ignore[attr-defined]
    return any(column.alias in to_many for column in columns)

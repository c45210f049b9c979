"""Exports of querysets: both ways give the rows that the queryset gives, however it was made."""

import asyncio
import json
import threading
import uuid
from contextlib import aclosing, contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import FieldError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.models import Count, Exists, F, JSONField, Max, OuterRef, Prefetch, Q, Sum, Value
from django.db.models.functions import Concat, Upper
from django.db.models.query import ValuesIterable

from sse_app import database
from sse_app.export import rows
from tests.asgi import poll
from tests.shop.models import (
    Author,
    Book,
    Country,
    Ebook,
    Line,
    Ranked,
    Rating,
    Size,
    Specimen,
    Tag,
    Ticket,
)

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = 3
each_way = pytest.mark.parametrize("snapshot", [False, True], ids=["keyset", "snapshot"])


def export(queryset, fields=None, **options):
    """Give the lines of an export, read with small pages."""

    async def read():
        return [lines async for lines in rows(queryset, fields, **{"page": PAGE, **options}).blocks()]

    return b"".join(asyncio.run(read()))


def encoded(values):
    """Give the lines that Django's own encoder makes of the rows."""
    encoder = DjangoJSONEncoder(ensure_ascii=False, separators=(",", ":"))
    return b"".join(encoder.encode(row).encode() + b"\n" for row in values)


@pytest.fixture
def books():
    """Seven books, one without an author, whose tags are none to three."""
    ann, bob = Author.objects.create(name="Ann"), Author.objects.create(name="Bob")
    tags = [Tag.objects.create(name=name) for name in ("new", "old", "red")]
    for number in range(7):
        book = Book.objects.create(title=f"Büch {number}", author=[ann, bob, None][number % 3], price=number)
        book.tags.set(tags[: number % 4])
    return Book.objects.all()


# What is cut into pages, and the names to export.
PAGED = {
    "all": (lambda books: books, None),
    "named columns": (lambda books: books, ["title", "id"]),
    "without the key": (lambda books: books, ["title"]),
    "the key as pk": (lambda books: books, ["pk", "title"]),
    "foreign key": (lambda books: books, ["author", "author_id"]),
    "across a foreign key": (lambda books: books, ["id", "author__name"]),
    "filtered": (lambda books: books.filter(author__name="Ann"), None),
    "filtered by a subquery": (lambda books: books.filter(pk__in=Tag.objects.values("books")), None),
    "excluded over many": (lambda books: books.exclude(tags__name="red"), ["id"]),
    "ordered by the key": (lambda books: books.order_by("pk"), None),
    "ordered by the key's name": (lambda books: books.order_by("id"), None),
    "not ordered": (lambda books: books.order_by(), None),
    "only": (lambda books: books.only("title"), None),
    "defer": (lambda books: books.defer("title"), None),
    "select_related": (lambda books: books.select_related("author"), None),
    "values": (lambda books: books.values(), None),
    "values of names": (lambda books: books.values("title", "author_id"), None),
    "values of an expression": (lambda books: books.values("id", loud=Upper("title")), None),
    "names over values": (lambda books: books.values("title"), ["price"]),
    "annotation": (lambda books: books.annotate(double=F("price") * 2), None),
    "annotation before a column": (lambda books: books.annotate(a=Upper("title")), ["a", "title"]),
    "annotation across a foreign key": (lambda books: books.annotate(by=F("author__name")), None),
    "annotation left out": (lambda books: books.annotate(a=Upper("title")), ["title"]),
    "alias": (lambda books: books.alias(a=Upper("title")).filter(a="BÜCH 1"), None),
    "text joined": (lambda books: books.annotate(a=Concat("title", Value("!"))), ["a"]),
    "exists": (lambda books: books.annotate(a=Exists(Tag.objects.filter(books=OuterRef("pk")))), None),
    "count over many": (lambda books: books.annotate(n=Count("tags")), None),
    "count and names": (lambda books: books.annotate(n=Count("tags")), ["n", "title"]),
    "count across a foreign key": (lambda books: books.annotate(n=Count("tags")), ["author__name", "n"]),
    "two counts": (lambda books: books.annotate(n=Count("tags"), m=Max("tags__name")), None),
    "count of some": (lambda books: books.annotate(n=Count("tags", filter=Q(tags__name="new"))), None),
    "filtered by a count": (lambda books: books.annotate(n=Count("tags")).filter(n__gt=1), None),
    "count over filtered tags": (
        lambda books: books.filter(tags__name="new").annotate(n=Count("tags")),
        None,
    ),
    "extra": (lambda books: books.extra(select={"one": "1"}), None),
    "extra and names": (lambda books: books.extra(select={"one": "1"}), ["title", "one"]),
    "another database": (lambda books: books.using("default"), None),
    "none": (lambda books: books.none(), None),
    "counted the other way": (lambda books: Author.objects.annotate(n=Count("books")), None),
    "sum of the other side": (lambda books: Author.objects.annotate(n=Sum("books__price")), None),
}


def in_values(queryset, names=None):
    """Give the queryset's rows as its user would."""
    if names is None and queryset._iterable_class is ValuesIterable:
        return queryset
    return queryset.values(*names or ())


@each_way
@pytest.mark.parametrize(("make", "names"), PAGED.values(), ids=PAGED)
def test_the_rows_are_those_of_values_by_key(books, make, names, snapshot):
    queryset = make(books).order_by("pk")
    assert export(queryset, names, snapshot=snapshot) == encoded(in_values(queryset, names))


@pytest.mark.parametrize(("make", "names"), PAGED.values(), ids=PAGED)
def test_what_is_read_by_key_goes_on_after_any_row(books, make, names):
    queryset = make(books)
    whole = export(queryset, names).splitlines(keepends=True)
    for cut, key in enumerate(queryset.order_by("pk").values_list("pk", flat=True), 1):
        assert export(queryset, names, after=key).splitlines(keepends=True) == whole[cut:]


def test_names_may_come_from_an_iterator(books):
    assert export(books, iter(["title"])) == encoded(books.order_by("pk").values("title"))


@each_way
def test_iterating_gives_the_rows_themselves(books, snapshot):
    async def read():
        return [row async for row in rows(books, page=PAGE, snapshot=snapshot)]

    assert asyncio.run(read()) == list(books.order_by("pk").values())


def test_the_key_decides_where_the_model_has_an_order_of_its_own():
    Ranked.objects.bulk_create(Ranked(rank=rank) for rank in (2, 9, 4, 4, 7))
    assert export(Ranked.objects.all()) == encoded(Ranked.objects.order_by("pk").values())


# What can't be cut into pages, and what the refusal of ``after`` says of it.
SNAPSHOTS = {
    "sliced": (lambda books: books.order_by("-price")[1:5], "sliced"),
    "sliced at its end": (lambda books: books.order_by("pk")[:2], "sliced"),
    "union": (lambda books: books.filter(price=1).union(books.filter(price=5)).order_by("id"), "combined"),
    "intersection": (lambda books: books.intersection(books.filter(price__gt=3)).order_by("id"), "combined"),
    "grouped by values": (
        lambda books: books.order_by("author").values("author").annotate(n=Count("id")),
        "grouped",
    ),
    "grouped by the key": (
        lambda books: books.order_by("id").values("id").annotate(n=Count("tags")),
        "grouped",
    ),
    "distinct": (lambda books: books.values("author").distinct().order_by("author"), "distinct"),
    "ordered by a column": (lambda books: books.order_by("-price"), "ordered otherwise"),
    "ordered backwards": (lambda books: books.order_by("-pk"), "ordered otherwise"),
    "ordered by two": (lambda books: books.order_by("pk", "price"), "ordered otherwise"),
    "ordered by an expression": (lambda books: books.order_by(F("pk").desc()), "ordered otherwise"),
    "reversed": (lambda books: books.order_by("pk").reverse(), "ordered otherwise"),
    "reversed without an order": (lambda books: Ranked.objects.reverse(), "ordered otherwise"),
    "ordered in SQL": (lambda books: books.extra(order_by=["-price"]), "ordered otherwise"),
    "locked": (lambda books: books.select_for_update().order_by("pk"), "locked by select_for_update()"),
    "two columns": (lambda books: Line.objects.all(), "keyed by several columns"),
    "two columns and names": (lambda books: Line.objects.values("place", "pk"), "keyed by several columns"),
    "another table": (
        lambda books: books.extra(tables=["shop_tag"], where=["shop_tag.id > 1"]).order_by("pk"),
        "multiplied by a join",
    ),
    "multiplied by a filter": (
        lambda books: books.filter(tags__name__in=["new", "old"]).order_by("pk"),
        "multiplied by a join",
    ),
    "multiplied by the other side of a key": (
        lambda books: Author.objects.filter(books__price__gte=0).order_by("pk"),
        "multiplied by a join",
    ),
    "multiplied by values": (
        lambda books: books.values("id", "tags__name").order_by("pk"),
        "multiplied by a join",
    ),
    "multiplied by an annotation": (
        lambda books: books.annotate(tag=F("tags__name")).order_by("pk"),
        "multiplied by a join",
    ),
    "multiplied beside a count": (
        lambda books: books.annotate(n=Count("tags"), tag=F("tags__name")).order_by("pk"),
        "multiplied by a join",
    ),
    "multiplied across a foreign key": (
        lambda books: books.filter(author__books__price__gte=0).order_by("pk"),
        "multiplied by a join",
    ),
}


@pytest.fixture
def others():
    Ranked.objects.bulk_create(Ranked(rank=rank) for rank in (2, 9, 4, 7))
    Line.objects.bulk_create(Line(order=order, place=place) for order in (2, 1) for place in range(3))


@pytest.mark.parametrize(("make", "obstacle"), SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_what_can_not_be_paged_is_read_as_a_snapshot(books, others, make, obstacle):
    queryset = make(books)
    exported, expected = export(queryset, page=2), encoded(in_unlocked_values(queryset))
    assert expected
    if obstacle.startswith("multiplied"):  # rows of the same key come in any order
        exported, expected = sorted(exported.splitlines()), sorted(expected.splitlines())
    assert exported == expected
    with pytest.raises(ValueError) as refusal:
        rows(queryset, after=1)
    assert str(refusal.value) == f"after: the queryset is {obstacle}, {NO_KEY}"


def in_unlocked_values(queryset):
    with transaction.atomic():  # a lock needs one
        return list(in_values(queryset))


# Values as a database gives them back, one column each.
SPECIMENS = [
    ("text", 'Grüße \N{GRINNING FACE} \u2028 "quoted" \\ \n\t\x01</script>'),
    ("text", ""),
    ("flag", True),
    ("flag", False),
    ("whole", 2**63 - 1),
    ("whole", -(2**63)),
    ("whole", 2**53 + 1),
    ("real", 0.1),
    ("real", -0.0),
    ("real", 1e300),
    ("real", 5e-324),
    ("real", 3.0),
    ("amount", Decimal("12345678901234567890.0123456789")),
    ("amount", Decimal("0")),
    ("amount", Decimal("-1.5")),
    ("day", date(1, 1, 1)),
    ("day", date(9999, 12, 31)),
    ("moment", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
    ("moment", datetime(2026, 1, 31, 12, 30, 0, 123456, tzinfo=UTC)),
    ("moment", datetime(2026, 1, 31, 12, 30, 0, 999, tzinfo=UTC)),
    ("moment", datetime(2026, 1, 31, 12, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))),
    ("clock", time(23, 59, 59)),
    ("clock", time(23, 59, 59, 1)),
    ("clock", time(0, 0, 0, 123456)),
    ("span", timedelta(0)),
    ("span", timedelta(days=3, hours=4, minutes=5, seconds=6, microseconds=7)),
    ("span", -timedelta(hours=30, microseconds=1)),
    ("code", uuid.UUID("00000000-0000-4000-8000-00000000000f")),
    ("document", {"ä": [1, 2.5, None, True, "x"], "": {}}),
    ("document", []),
    ("document", "text"),
    ("document", 0),
    ("document", 2**53 + 1),
    ("document", {"large": 2**70}),
    ("document", Value(None, JSONField())),
    ("size", Size.LARGE),
    ("rating", Rating.GOOD),
    ("file", "reports/2026/ü.pdf"),
    ("address", "2001:db8::1"),
]


@each_way
@pytest.mark.parametrize(("name", "value"), SPECIMENS, ids=lambda value: repr(value)[:40])
def test_a_value_is_encoded_as_django_encodes_it(name, value, snapshot):
    Specimen.objects.create(**{name: value})
    exported = export(Specimen.objects.all(), snapshot=snapshot)
    ((given, expected),) = zip(exported.splitlines(), Specimen.objects.values(), strict=True)
    # Both spell 1e300 in their own way; dumped again, 1, 1.0 and true still differ.
    assert json.dumps(json.loads(given)) == json.dumps(
        json.loads(json.dumps(expected, cls=DjangoJSONEncoder))
    )
    assert given.decode() == given.decode().strip()


@each_way
def test_null_is_null_in_a_column_of_any_type(snapshot):
    Specimen.objects.create()
    (line,) = export(Specimen.objects.all(), snapshot=snapshot).splitlines()
    row = json.loads(line)
    assert row.pop("id") == Specimen.objects.get().pk
    assert row.pop("file") == ""  # Django puts no null there
    assert row == {field.name: None for field in Specimen._meta.fields if field.name not in ("id", "file")}


def test_half_a_surrogate_pair_in_json_is_escaped():
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL refuses it")
    Specimen.objects.create(document=["\ud800"])
    assert export(Specimen.objects.all(), ["document"]) == b'{"document":["\\ud800"]}\n'


@each_way
def test_what_json_has_no_form_for_fails(snapshot):
    Specimen.objects.create(blob=b"\xff")
    with pytest.raises(TypeError, match="is not JSON serializable"):
        export(Specimen.objects.all(), ["blob"], snapshot=snapshot)


# Keys of other types than numbers, and how many rows there are of each.
KEYED = {
    "number": lambda: Book.objects.bulk_create(
        Book(id=id, title="x") for id in (2**40, 5, 7, 90, 91, 92, 93)
    ),
    "UUID": lambda: Ticket.objects.bulk_create(Ticket(id=uuid.UUID(int=n << 90), number=n) for n in range(7)),
    "text": lambda: Country.objects.bulk_create(
        Country(code=code) for code in ("b", "B", "a", "ä", "", "1", "é")
    ),
    "parent": lambda: [Ebook.objects.create(title=str(n), pages=n) for n in range(7)],
}


@pytest.mark.parametrize("make", KEYED.values(), ids=KEYED)
@pytest.mark.parametrize("page", [1, 3, 7, 100])
def test_an_export_cut_anywhere_goes_on_as_if_it_had_not_been(make, page):
    queryset = type(make()[0]).objects.all()
    key = queryset.model._meta.pk.attname
    whole = export(queryset, page=page)
    assert whole == encoded(queryset.order_by("pk").values())
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 7
    for cut in range(1, 8):
        last = json.loads(lines[cut - 1])[key]
        assert b"".join(lines[:cut]) + export(queryset, after=last, page=page) == whole


@each_way
@pytest.mark.parametrize("count", [0, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 1])
def test_no_row_is_lost_or_repeated_at_the_edge_of_a_page(count, snapshot):
    Author.objects.bulk_create(Author(name=str(number)) for number in range(count))
    exported = export(Author.objects.all(), ["name"], snapshot=snapshot)
    assert [json.loads(line)["name"] for line in exported.splitlines()] == [str(n) for n in range(count)]


# Instances and functions.


def card(book):
    return {
        "title": book.title,
        "by": book.author and book.author.name,
        "tags": sorted(map(str, book.tags.all())),
    }


@contextmanager
def counted_queries():
    """Count the queries of every connection that is opened meanwhile, in any thread."""
    asked = []

    def count(execute, sql, *rest):
        asked.append(sql)
        return execute(sql, *rest)

    def watch(connection, **kwargs):
        connection.execute_wrappers.append(count)

    database.close()  # its threads would keep the connections that they have
    connection_created.connect(watch)
    try:
        yield asked
    finally:
        connection_created.disconnect(watch)
        database.close()


@each_way
def test_a_function_makes_the_row_of_an_instance(books, snapshot):
    queryset = books.select_related("author").prefetch_related("tags").order_by("pk")
    assert export(queryset, card, snapshot=snapshot) == encoded(map(card, queryset))


@each_way
@pytest.mark.parametrize("page", [2, 3, 7])
def test_relations_cost_the_same_queries_for_each_page(books, page, snapshot):
    queryset = books.select_related("author").prefetch_related(Prefetch("tags", Tag.objects.order_by("name")))
    with counted_queries() as asked:
        export(queryset, card, page=page, snapshot=snapshot)
    pages = -(-7 // page)
    queries = [sql for sql in asked if sql.startswith("SELECT") and " FROM " in sql]
    books_asked = [sql for sql in queries if "author" in sql]
    tags_asked = [sql for sql in queries if "author" not in sql]
    assert len(tags_asked) == pages
    # A page that is full may have another one after it; a cursor is asked once.
    assert len(books_asked) == (1 if snapshot else 7 // page + 1)


@each_way
def test_a_function_may_use_deferred_columns_and_annotations(books, snapshot):
    queryset = books.only("title").annotate(n=Count("tags")).order_by("pk")
    exported = export(queryset, lambda book: [book.title, book.price, book.n], snapshot=snapshot)
    assert exported == encoded([book.title, book.price, book.n] for book in queryset)


def test_a_function_and_a_key_to_go_on_after(books):
    whole = export(books, card).splitlines(keepends=True)
    key = books.order_by("pk")[3].pk
    assert export(books, card, after=str(key)).splitlines(keepends=True) == whole[4:]


def test_a_row_that_the_function_can_not_make_fails(books):
    with pytest.raises(ZeroDivisionError):
        export(books, lambda book: 1 // (book.pk - book.pk))


# Rows that change meanwhile.


async def change(make):
    await sync_to_async(make)()


async def test_rows_that_change_during_a_paged_export_cost_no_other_row():
    await Author.objects.abulk_create(Author(id=id, name=f"{id}") for id in range(10, 100, 10))
    seen = []
    async with aclosing(aiter(rows(Author.objects.all(), page=PAGE))) as found:
        async for row in found:
            seen.append(row["id"])
            if row["id"] == 30:  # the last of its page
                await Author.objects.filter(id__in=[20, 30, 50]).adelete()
                await Author.objects.acreate(id=25, name="behind")
                await Author.objects.acreate(id=35, name="before")
    assert seen == [10, 20, 30, 35, 40, 60, 70, 80, 90]


async def test_a_snapshot_shows_one_view_and_locks_nobody_out(books):
    before = await sync_to_async(lambda: [card(book) for book in books.order_by("pk")])()

    def change_everything():
        Book.objects.filter(title__endswith="6").delete()
        Book.objects.update(title="changed")
        Book.objects.create(title="new")
        Tag.objects.update(name="changed")

    queryset = books.select_related("author").prefetch_related("tags").order_by("pk")
    seen = []
    async with aclosing(aiter(rows(queryset, card, snapshot=True, page=2))) as found:
        async for row in found:
            if not seen:
                await sync_to_async(change_everything)()
            seen.append(row)
    assert await Book.objects.acount() == 7
    assert seen == before


# What is held meanwhile.


def snapshot_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sse-snapshot")]


@pytest.mark.parametrize("taken", [0, 1, 5, 100], ids=["unread", "one row", "two pages", "to its end"])
async def test_a_snapshot_gives_its_thread_and_its_connection_back(books, taken):
    closed = []

    def watch(connection, **kwargs):
        own_close = connection.close
        connection.close = lambda: (closed.append(threading.current_thread().name), own_close())

    connection_created.connect(watch)
    try:
        async with aclosing(aiter(rows(books, snapshot=True, page=2))) as found:
            for _ in range(taken):
                if await anext(found, None) is None:
                    break
        await poll(lambda: not snapshot_threads())
    finally:
        connection_created.disconnect(watch)
    assert len([name for name in closed if name.startswith("sse-snapshot")]) == (1 if taken else 0)


async def test_a_snapshot_whose_reader_goes_in_the_middle_of_a_read_is_closed_in_its_thread(books):
    gate, reached = threading.Event(), threading.Event()

    def slow(book):
        reached.set()
        assert gate.wait(10)
        return book.pk

    async def read():
        async for _ in rows(books, slow, snapshot=True):
            pass

    reading = asyncio.create_task(read())
    await poll(reached.is_set)
    reading.cancel()
    await asyncio.wait({reading}, timeout=10)
    assert reading.cancelled()
    assert len(snapshot_threads()) == 1
    gate.set()
    await poll(lambda: not snapshot_threads())


async def test_a_paged_export_takes_no_thread_of_its_own(books):
    async with aclosing(aiter(rows(books, page=2))) as found:
        await anext(found)
        assert snapshot_threads() == []


async def test_the_same_export_can_be_read_twice(books):
    exported = rows(books, page=2)
    assert [row async for row in exported] == [row async for row in exported]


# Refusals.


def refuse(books, case):
    return {
        "a snapshot and a key": lambda: rows(books, after=1, snapshot=True),
        "no number": lambda: rows(books, after="one"),
        "no UUID": lambda: rows(Ticket.objects.all(), after="7"),
        "values_list": lambda: rows(books.values_list("id")),
        "flat values_list": lambda: rows(books.values_list("id", flat=True), ["id"]),
        "prefetch_related": lambda: rows(books.prefetch_related("tags")),
        "prefetch_related and names": lambda: rows(books.prefetch_related("tags"), ["id"]),
        "function over values": lambda: rows(books.values("id"), card),
        "no rows in a page": lambda: rows(books, page=0),
    }[case]()


NO_KEY = "so there is no key to go on after"
TO_INSTANCES = "fields: prefetch_related() needs a function that makes a row of an instance"
REFUSALS = {
    "a snapshot and a key": f"after: the queryset is to be read as a snapshot, {NO_KEY}",
    "no number": "after: 'one' is not the primary key of a book",
    "no UUID": "after: '7' is not the primary key of a ticket",
    "values_list": "the queryset must be one of instances or values(), not of values_list()",
    "flat values_list": "the queryset must be one of instances or values(), not of values_list()",
    "prefetch_related": TO_INSTANCES,
    "prefetch_related and names": TO_INSTANCES,
    "function over values": "fields: a function needs a queryset of instances, without values()",
    "no rows in a page": "page: must be at least 1, not 0",
}


@pytest.mark.parametrize(("case", "text"), REFUSALS.items(), ids=REFUSALS)
def test_what_can_not_be_exported_is_refused_at_once(case, text):
    with pytest.raises(ValueError) as refusal:
        refuse(Book.objects.all(), case)
    assert str(refusal.value) == text


@pytest.mark.parametrize(
    ("thing", "kind"), [(Book, "ModelBase"), (Book.objects, "Manager"), ([], "list"), (None, "NoneType")]
)
def test_what_is_no_queryset_is_refused(thing, kind):
    if kind == "Manager":
        kind = type(thing).__name__
    with pytest.raises(TypeError) as refusal:
        rows(thing)
    assert str(refusal.value) == f"rows() needs a queryset, not {kind}"


def test_a_raw_query_is_refused():
    with pytest.raises(TypeError) as refusal:
        rows(Book.objects.raw("SELECT * FROM shop_book"))
    assert str(refusal.value) == "rows() needs a queryset, not RawQuerySet"


def test_a_field_that_does_not_exist_is_refused_at_once():
    with pytest.raises(FieldError, match="Cannot resolve keyword 'nothing' into field"):
        rows(Book.objects.all(), ["nothing"])


def test_behind_a_pooler_pages_work_and_snapshots_are_refused(books, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "DISABLE_SERVER_SIDE_CURSORS", True)
    assert export(books) == encoded(books.order_by("pk").values())
    for queryset, options, obstacle in [
        (books, {"snapshot": True}, "to be read as a snapshot"),
        (books.order_by("-price"), {}, "ordered otherwise"),
    ]:
        with pytest.raises(ValueError) as refusal:
            rows(queryset, **options)
        assert str(refusal.value) == (
            f"the queryset is {obstacle}, which takes a server-side cursor, and "
            "DISABLE_SERVER_SIDE_CURSORS is set: all rows would be held in memory"
        )

"""Entries and what a log answers about a position, row by row of the contract."""

import pytest

from sse_app.entries import Answer, Entry, Page, Reason, contiguous, missed
from sse_app.events import EventDecoder, ServerSentEvent
from sse_app.positions import GENESIS, Position


def tag(seq, log="a"):
    return f"{log}{seq:07x}" if seq else GENESIS.tag


def at(seq, log="a"):
    return Position(seq, tag(seq, log))


def entry(seq, log="a", prev=None, event=None, data=""):
    return Entry("orders", at(seq, log), prev or tag(seq - 1, log), event, data)


def entries(*seqs, log="a"):
    return [entry(seq, log) for seq in seqs]


def seqs(answer):
    return [entry.position.seq for entry in answer.entries]


# What a page of the log says: (position, head, entries from the position's seq on) → what follows.

PROVEN = {
    "by its entry": (at(3), at(5), entries(3, 4, 5), [4, 5]),
    "by its entry, nothing follows": (at(5), at(5), entries(5), []),
    "by the next entry's prev": (at(3), at(5), entries(4, 5), [4, 5]),
    "by the head": (at(5), at(5), [], []),
    "trimmed exactly at seq": (at(3), at(5), entries(4, 5), [4, 5]),
    "all trimmed, but it is the head": (at(9), at(9), [], []),
    "genesis, never written": (GENESIS, GENESIS, [], []),
    "genesis, nothing trimmed": (GENESIS, at(2), entries(1, 2), [1, 2]),
    "a page that ends before the head": (at(3), at(900), entries(3, 4, 5), [4, 5]),
    "a gap in the middle": (at(3), at(6), entries(3, 4, 6), [4]),
    "a fork in the middle": (at(3), at(6), [*entries(3, 4), *entries(5, 6, log="b")], [4]),
}


@pytest.mark.parametrize(("position", "head", "kept", "following"), PROVEN.values(), ids=PROVEN)
def test_a_proven_position_goes_on_with_the_entries_that_follow(position, head, kept, following):
    answer = Page(head, kept).after(position)
    assert answer.reason is None
    assert seqs(answer) == following


REFUTED = {
    "beyond the head": (at(6), at(5), [], Reason.REWOUND),
    "beyond genesis": (at(1), GENESIS, [], Reason.REWOUND),
    "same seq, another tag": (at(3, "b"), at(5), entries(3, 4, 5), Reason.FORKED),
    "next entry with another prev": (at(3, "b"), at(5), entries(4, 5), Reason.FORKED),
    "the head with another tag": (at(5, "b"), at(5), [], Reason.FORKED),
    "the head's entry with another tag": (at(5, "b"), at(5), entries(5), Reason.FORKED),
    "a genesis that is none": (Position(0, "deadbeef"), at(2), entries(1, 2), Reason.FORKED),
    "a log begun anew that grew past it": (at(3, "b"), at(900), entries(3, 4), Reason.FORKED),
    "trimmed at seq+1": (at(3), at(6), entries(5, 6), Reason.TRIMMED),
    "trimmed far beyond": (at(3), at(900), entries(899, 900), Reason.TRIMMED),
    "nothing kept": (at(3), at(5), [], Reason.TRIMMED),
    "genesis, trimmed": (GENESIS, at(5), entries(2, 3, 4, 5), Reason.TRIMMED),
    "genesis, nothing kept": (GENESIS, at(5), [], Reason.TRIMMED),
    "a gap right after it": (at(3), at(6), entries(3, 5, 6), Reason.TRIMMED),
    "what follows is gone, its own entry is left": (at(3), at(6), entries(3), Reason.TRIMMED),
}


@pytest.mark.parametrize(("position", "head", "kept", "reason"), REFUTED.values(), ids=REFUTED)
def test_a_position_that_can_not_be_continued_is_answered_with_the_reason(position, head, kept, reason):
    assert Page(head, kept).after(position) == Answer(reason=reason)


def test_only_a_trimmed_position_knows_how_many_events_it_missed():
    assert missed(at(3), at(10), Reason.TRIMMED) == 7
    assert missed(GENESIS, at(10), Reason.TRIMMED) == 10
    page = Page(at(10), entries(6, 7, 8, 9, 10))
    assert missed(at(3), page.before, Reason.TRIMMED) == 2
    for reason in (Reason.FORKED, Reason.REWOUND, Reason.UNKNOWN):
        assert missed(at(3), at(10), reason) is None


def test_a_page_knows_the_position_before_its_first_entry():
    assert Page(at(5), entries(4, 5)).before == at(3)
    assert Page(at(5), entries(1, 2)).before == GENESIS
    assert Page(at(5), []).before == at(5)


def test_going_on_before_the_oldest_entry_is_proven():
    page = Page(at(5), entries(4, 5))
    assert seqs(page.after(page.before)) == [4, 5]


@pytest.mark.parametrize(
    ("after", "kept", "following"),
    [
        (at(3), entries(4, 5), 2),
        (at(3), entries(4, 6), 1),
        (at(3), entries(5, 6), 0),
        (at(3), entries(3, 4), 0),
        (at(3, "b"), entries(4, 5), 0),
        (at(3), [entry(4), entry(5, prev="ffffffff")], 1),
        (at(3), [], 0),
    ],
)
def test_a_chain_ends_where_a_seq_or_a_tag_does_not_fit(after, kept, following):
    assert list(contiguous(after, kept)) == kept[:following]


# The bytes of an entry.


def test_an_entry_is_encoded_once():
    first = entry(1, data='{"a":1}')
    assert first.block is first.block
    assert first.block == b'id: orders=1-a0000001\ndata: {"a":1}\n\n'


def test_an_entry_without_a_log_claims_no_position():
    tick = Entry("ticks", at(1), GENESIS.tag, None, "1", logged=False)
    assert tick.block == b"id: ticks=\ndata: 1\n\n"


def test_a_block_carries_the_cursor_it_is_given():
    named = entry(1, event="paid", data="a\nb")
    assert named.block_with_id("orders=1-a0000001&alerts=7-11aa22bb") == (
        b"event: paid\nid: orders=1-a0000001&alerts=7-11aa22bb\ndata: a\ndata: b\n\n"
    )
    assert named.block_with_id(None) == b"event: paid\ndata: a\ndata: b\n\n"


@pytest.mark.parametrize("data", ["", "a", "a\nb\n", " a", "null", "é\u2028\0"])
@pytest.mark.parametrize("event", [None, "paid"])
def test_a_block_is_read_back_as_the_entry(data, event):
    block = entry(7, event=event, data=data).block
    assert EventDecoder().feed(block) == [ServerSentEvent(data, event=event, id="orders=7-a0000007")]


def test_an_entry_weighs_more_than_its_data():
    assert entry(1, data="").size > 0
    assert entry(1, data="x" * 1000).size >= entry(1, data="").size + 1000


def test_an_entry_shows_where_it_stands():
    assert repr(entry(7)) == "<Entry orders 7-a0000007 message>"
    assert repr(entry(7, event="paid")) == "<Entry orders 7-a0000007 paid>"

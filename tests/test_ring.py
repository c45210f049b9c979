"""The ring: a bounded, gapless piece of the log; who falls out of it, and what it may weigh."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_app.entries import Entry
from sse_app.positions import GENESIS, Position
from sse_app.ring import Ring, RingBudget


def at(seq):
    return Position(seq, f"{seq:08x}")


def entry(seq, data=""):
    return Entry("orders", at(seq), at(seq - 1).tag, None, data)


def fill(ring, *seqs, data=""):
    assert all(ring.push(entry(seq, data)) for seq in seqs)
    return ring


def taken(ring, position):
    following = ring.after(position)
    return None if following is None else [entry.position.seq for entry in following]


def test_an_empty_ring_holds_its_base_alone():
    ring = Ring(at(4), max_entries=3)
    assert (ring.base, ring.last, len(ring), ring.newest()) == (at(4), at(4), 0, None)
    assert taken(ring, at(4)) == []
    assert taken(ring, at(3)) is None
    assert taken(ring, at(5)) is None


def test_a_ring_begins_at_genesis():
    assert taken(fill(Ring(max_entries=3), 1, 2), GENESIS) == [1, 2]


def test_slow_reader_within_capacity_does_not_lag():
    ring = fill(Ring(max_entries=3), 1, 2, 3)
    assert taken(ring, GENESIS) == [1, 2, 3]
    assert ring.base == GENESIS


def test_overflow_drops_the_oldest_and_moves_the_base():
    ring = fill(Ring(max_entries=3), 1, 2, 3, 4, 5)
    assert (ring.base, ring.last, len(ring)) == (at(2), at(5), 3)
    assert taken(ring, at(1)) is None
    assert taken(ring, at(2)) == [3, 4, 5]


def test_the_reader_just_before_the_oldest_entry_is_still_live():
    ring = fill(Ring(max_entries=2), 1, 2, 3)
    assert ring.holds(at(1))
    assert not ring.holds(GENESIS)


def test_lag_is_per_reader():
    ring = fill(Ring(max_entries=2), 1, 2, 3, 4)
    assert [taken(ring, at(seq)) for seq in (1, 2, 3, 4)] == [None, [3, 4], [4], []]


def test_lag_again_before_reading_what_was_kept():
    ring = fill(Ring(max_entries=2), 1, 2, 3)
    assert taken(ring, ring.base) == [2, 3]
    fill(ring, 4, 5)
    assert taken(ring, at(1)) is None
    assert taken(ring, ring.base) == [4, 5]


def test_capacity_one():
    ring = Ring(max_entries=1)
    for seq in (1, 2, 3):
        fill(ring, seq)
        assert ring.newest().position == at(seq)
        assert (ring.base, len(ring)) == (at(seq - 1), 1)
        assert taken(ring, at(seq - 1)) == [seq]
        assert taken(ring, at(seq)) == []


def test_taking_what_follows_leaves_it_for_others():
    ring = fill(Ring(max_entries=3), 1, 2)
    assert taken(ring, GENESIS) == taken(ring, GENESIS) == [1, 2]
    assert ring.after(GENESIS)[0] is ring.after(GENESIS)[0]


@pytest.mark.parametrize(
    "stray",
    [
        entry(2),
        entry(1),
        entry(4),
        Entry("orders", at(3), "ffffffff", None, ""),
        Entry("orders", Position(2, "ffffffff"), at(1).tag, None, ""),
    ],
    ids=["again", "an older one", "after a gap", "of another chain", "another one in its place"],
)
def test_an_entry_that_does_not_continue_the_chain_is_refused_and_changes_nothing(stray):
    budget = RingBudget(10**6)
    ring = fill(Ring(max_entries=3, budget=budget), 1, 2)
    used = budget.used
    assert ring.push(stray) is False
    assert (ring.base, ring.last, len(ring), budget.used) == (GENESIS, at(2), 2, used)
    assert taken(ring, GENESIS) == [1, 2]


def test_a_position_of_another_log_is_not_held():
    ring = fill(Ring(at(4), max_entries=3), 5, 6)
    for seq in (4, 5, 6):
        assert ring.holds(at(seq))
        assert not ring.holds(Position(seq, "ffffffff"))
        assert ring.after(Position(seq, "ffffffff")) is None


def test_restart_forgets_everything_and_goes_on_elsewhere():
    budget = RingBudget(10**6)
    ring = fill(Ring(max_entries=3, budget=budget), 1, 2, 3)
    ring.restart(at(9))
    assert (ring.base, ring.last, len(ring), ring.newest()) == (at(9), at(9), 0, None)
    assert budget.used == 0
    assert taken(ring, at(3)) is None
    assert ring.push(entry(4)) is False
    assert taken(fill(ring, 10), at(9)) == [10]


def test_restart_may_go_back():
    ring = fill(Ring(max_entries=3), 1, 2, 3)
    ring.restart(at(1))
    assert taken(fill(ring, 2), at(1)) == [2]


def test_the_budget_counts_what_is_held():
    budget = RingBudget(10**6)
    fill(Ring(max_entries=2, budget=budget), 1, 2, 3, data="x" * 50)
    assert budget.used == 2 * entry(1, "x" * 50).size


def test_a_ring_over_the_budget_drops_its_own_oldest_entries():
    size = entry(1, "x" * 50).size
    ring = fill(Ring(max_entries=100, budget=RingBudget(3 * size)), *range(1, 8), data="x" * 50)
    assert taken(ring, ring.base) == [5, 6, 7]


def test_rings_share_the_budget():
    size = entry(1).size
    budget = RingBudget(4 * size)
    quiet = fill(Ring(max_entries=100, budget=budget), 1, 2, 3)
    busy = fill(Ring(max_entries=100, budget=budget), *range(1, 10))
    assert (len(quiet), len(busy)) == (3, 1)
    assert budget.used == 4 * size
    quiet.restart(at(3))
    fill(busy, *range(10, 20))
    assert (len(quiet), len(busy)) == (0, 4)


def test_the_newest_entry_is_kept_whatever_it_weighs():
    budget = RingBudget(1)
    ring = fill(Ring(max_entries=100, budget=budget), 1, 2, data="x" * 1000)
    assert taken(ring, at(1)) == [2]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["push", "push", "push", "stray", "restart"]), st.integers(0, 30))),
)
def test_a_ring_is_always_a_gapless_piece_of_the_log_within_its_bounds(most, steps):
    size = entry(1).size
    budget = RingBudget(4 * size)
    ring = Ring(max_entries=most, budget=budget)
    for step, number in steps:
        if step == "push":
            fill(ring, ring.last.seq + 1)
        elif step == "stray":
            fits = number == ring.last.seq
            assert ring.push(entry(number + 1)) is fits
        else:
            ring.restart(at(number))
        assert len(ring) <= min(most, 4)
        assert budget.used == len(ring) * size
        assert taken(ring, ring.base) == list(range(ring.base.seq + 1, ring.last.seq + 1))
        assert [ring.holds(at(seq)) for seq in range(32)] == [
            ring.base.seq <= seq <= ring.last.seq for seq in range(32)
        ]

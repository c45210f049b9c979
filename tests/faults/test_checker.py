"""The checker itself: each way of breaking a promise, made by hand, is found, and nothing else is."""

import pytest

from tests.faults.checker import Checker
from tests.faults.truth import Trim, Truth, Undo

TOPIC, OTHER, LATEST, TICK = "orders", "alerts", "state", "tick"


def tag(seq, line="a"):
    return f"{line}{seq:07}" if seq else "0" * 8


def at(seq, line="a", topic=TOPIC):
    return f"{topic}={seq}-{tag(seq, line)}"


class History:
    """Records of one topic's publisher, witness and readers, in the order in which they are made."""

    def __init__(self, *, transactional=True, readers=1, topics=(TOPIC,)):
        truth = Truth(transactional, frozenset([LATEST]), frozenset([TICK]))
        self.checker = Checker(truth, dict.fromkeys(range(readers), topics))
        self.clock = 0.0

    @property
    def truth(self):
        return self.checker.truth

    def record(self, kind, **fields):
        self.clock += 1.0
        self.checker.feed({"kind": kind, "t": self.clock, **fields})
        return self

    def published(self, first, last, line="a", topic=TOPIC, prev=None):
        """Publish, acknowledge and witness the events of these seqs."""
        for seq in range(first, last + 1):
            id = f"{line}{seq}"
            self.record("intent", id=id, topic=topic)
            self.record("ack", ids=[id], topics=[topic], positions=[[seq, tag(seq, line)]])
            self.witnessed(seq, id, line, topic, prev)
            prev = None
        return self

    def witnessed(self, seq, id, line="a", topic=TOPIC, prev=None):
        prev = tag(seq - 1, line) if prev is None else prev
        self.record("entry", topic=topic, seq=seq, tag=tag(seq, line), prev=prev, id=id)
        return self.record("heads", since=self.clock, heads={topic: [seq, tag(seq, line)]})

    def began(self, cursor="", reader=0, primed=None):
        self.record("began", reader=reader, cursor=cursor)
        self.record("open", reader=reader, status=200)
        return self.record("block", reader=reader, name="cursor", id=primed or cursor or at(0))

    def got(self, *seqs, line="a", reader=0, topic=TOPIC):
        for seq in seqs:
            self.event(at(seq, line, topic), f"{line}{seq}", reader)
        return self

    def event(self, cursor, payload, reader=0):
        return self.record("block", reader=reader, name=None, id=cursor, payload=payload, at=0.0)

    def reset(self, reason, missed, cursor, reader=0, topic=TOPIC):
        told = {"topics": [{"topic": topic, "reason": reason, "missed": missed}]}
        return self.record("block", reader=reader, name="reset", id=cursor, told=told)

    def kinds(self):
        self.checker.verify()
        return [violation.kind for violation in self.checker.violations]


def test_a_history_as_it_should_be_has_no_violation():
    history = History(readers=2).published(1, 6).began().began(reader=1, primed=at(2)).got(1, 2, 3)
    history.record("cut", reader=0).began(at(3)).got(4, 5, 6).got(3, 4, 5, 6, reader=1)
    assert history.kinds() == []
    assert history.checker.behind() == []


def test_a_lost_event_is_found():
    assert History().published(1, 3).began().got(1, 3).kinds() == ["gap", "lost"]


def test_the_last_event_lost_is_found_as_long_as_it_does_not_come():
    history = History().published(1, 3).began().got(1, 2)
    assert history.kinds() == []
    assert [(reader, topic) for reader, topic, _, _ in history.checker.behind()] == [(0, TOPIC)]
    history.got(3)
    assert history.checker.behind() == []


def test_an_event_lost_over_a_reconnect_is_found():
    history = History().published(1, 3).began().got(1).began(at(1)).got(3)
    assert history.kinds() == ["gap", "lost"]


def test_a_cursor_that_skips_an_event_in_silence_is_found():
    assert History().published(1, 2).began().got(1).began(at(1), primed=at(2)).kinds() == ["gap"]


def test_a_gap_that_only_the_publishers_know_of_is_found():
    history = History().published(1, 2).began().got(1)
    history.event(at(2), "a1")  # the right position with the payload of another one
    assert history.kinds() == ["payload", "lost"]


def test_a_repeated_event_is_found():
    assert History().published(1, 2).began().got(1, 2, 2).kinds() == ["repeat"]


def test_a_repeat_over_a_reconnect_is_found():
    assert History().published(1, 2).began().got(1, 2).began(at(2)).got(2).kinds() == ["repeat"]


def test_events_in_another_order_are_found():
    assert History().published(1, 3).began().got(1, 3, 2).kinds() == ["gap", "order"]


def test_another_payload_at_the_same_position_is_found():
    history = History(readers=2).published(1, 1).began().began(reader=1).got(1)
    assert history.event(at(1), "a9", reader=1).kinds() == ["payload", "lost"]


def test_an_event_that_the_log_never_had_is_found():
    history = History().published(1, 1).began().got(1).record("intent", id="b2", topic=TOPIC)
    assert history.got(2, line="b").kinds() == ["unknown"]


def test_an_event_that_nobody_published_is_found():
    history = History().published(1, 1).witnessed(2, "a2").began().got(1, 2)
    assert history.kinds() == ["unknown"]


def test_an_event_of_another_topic_is_found():
    history = History().published(1, 1).record("intent", id="a1", topic=OTHER).began()
    assert history.got(1).kinds() == ["unknown"]


def test_an_event_rolled_back_and_delivered_is_found():
    history = History().published(1, 2).began().record("undone", ids=["a2"]).got(1, 2)
    assert history.kinds() == ["rolled back", "rolled back"]  # delivered, and in the log


def test_an_event_rolled_back_on_an_ephemeral_topic_is_found():
    history = History(topics=(TICK,)).record("intent", id="a1", topic=TICK).record("undone", ids=["a1"])
    assert history.event("tick=", "a1").kinds() == ["rolled back"]


def test_a_fork_without_a_reset_is_found():
    history = History().published(1, 2).began().got(1)
    history.truth.undos.append(Undo(history.clock, history.clock, {TOPIC: 1}))
    history.published(2, 2, line="b").published(3, 3, line="b").got(2)
    assert history.event(at(3, "b"), "b3").kinds() == ["fork", "lost"]


def test_a_true_reset_of_a_trimmed_log_is_accepted():
    history = History().published(1, 9).began().got(1, 2)
    history.truth.trims.append(Trim(TOPIC, history.clock, first_kept=6))
    assert history.reset("trimmed", 7, at(9)).kinds() == []


def test_what_a_reset_passes_over_is_not_lost_and_what_follows_it_is():
    history = History().published(1, 9).began().got(1, 2)
    history.truth.trims.append(Trim(TOPIC, history.clock, first_kept=6))
    assert history.reset("trimmed", 3, at(5)).got(6, 7, 9).kinds() == ["gap", "lost"]


def test_a_reset_with_a_false_count_is_found():
    history = History().published(1, 9).began().got(1, 2)
    history.truth.trims.append(Trim(TOPIC, history.clock, first_kept=6))
    assert history.reset("trimmed", 6, at(9)).kinds() == ["false count"]


@pytest.mark.parametrize("reason", ["trimmed", "rewound", "forked", "unknown"])
def test_a_reset_where_nothing_happened_to_the_log_is_found(reason):
    assert History().published(1, 3).began().got(1).reset(reason, None, at(3)).kinds() == ["false reset"]


def test_a_reset_of_a_position_that_was_kept_is_found():
    history = History().published(1, 9).began().got(1, 2, 3, 4, 5)
    history.truth.trims.append(Trim(TOPIC, history.clock, first_kept=6))
    assert history.reset("trimmed", 4, at(9)).kinds() == ["false reset"]


def test_a_reset_before_the_log_was_trimmed_is_found():
    history = History().published(1, 9).began().got(1, 2).reset("trimmed", 7, at(9))
    history.truth.trims.append(Trim(TOPIC, history.clock + 1, first_kept=6))
    assert history.kinds() == ["false reset"]


def test_true_resets_of_a_log_set_back_are_accepted():
    history = History(transactional=False, readers=2).published(1, 5).began().began(reader=1)
    history.got(1, 2, 3, 4, 5).got(1, 2, 3, 4, reader=1)
    history.truth.undos.append(Undo(history.clock, history.clock, {TOPIC: 2}))
    history.reset("rewound", None, at(2)).published(3, 6, line="b", prev=tag(2)).got(3, 4, 5, 6, line="b")
    history.reset("forked", None, at(6, "b"), reader=1)
    assert history.kinds() == []


def test_a_reset_of_what_was_written_after_the_log_was_set_back_is_found():
    history = History(transactional=False).published(1, 2).began().got(1, 2)
    history.truth.undos.append(Undo(history.clock, history.clock, {}))
    history.reset("rewound", None, at(0)).published(1, 3, line="b").got(1, 2, line="b")
    assert history.reset("rewound", None, at(3, "b")).kinds() == ["false reset"]


def test_an_acknowledged_event_that_the_log_has_not_is_found():
    history = History().published(1, 1).record("intent", id="a2", topic=TOPIC)
    history.record("ack", ids=["a2"], topics=[TOPIC], positions=[[2, tag(2)]])
    assert history.kinds() == ["lost by the log"]


@pytest.mark.parametrize(("transactional", "found"), [(True, ["lost by the log"]), (False, [])])
def test_an_event_acknowledged_without_a_position_must_be_in_a_transactional_log(transactional, found):
    history = History(transactional=transactional).record("intent", id="a1", topic=TOPIC)
    assert history.record("ack", ids=["a1"], topics=[TOPIC], positions=[None]).kinds() == found


def test_what_was_acknowledged_before_the_log_was_set_back_may_be_gone():
    history = History(transactional=False).record("intent", id="a1", topic=TOPIC)
    history.record("ack", ids=["a1"], topics=[TOPIC], positions=[[1, tag(1)]])
    history.truth.undos.append(Undo(history.clock, history.clock, {}))
    assert history.kinds() == []


def test_an_event_appended_twice_is_found():
    history = History().published(1, 1).witnessed(2, "a1").began().got(1).event(at(2), "a1")
    assert history.kinds() == ["appended twice"]


def test_an_event_appended_again_to_a_log_that_has_lost_it_is_accepted():
    history = History(transactional=False).published(1, 1).began().got(1)
    history.truth.undos.append(Undo(history.clock, history.clock, {}))
    history.reset("rewound", None, at(0)).witnessed(1, "a1", line="b").event(at(1, "b"), "a1")
    assert history.kinds() == []


def test_an_event_that_was_in_flight_when_its_publisher_died_may_come_or_not():
    history = History().record("intent", id="a1", topic=TOPIC).record("intent", id="x", topic=TOPIC)
    assert history.witnessed(1, "a1").began().got(1).kinds() == []


def test_a_latest_topic_may_skip_and_must_not_go_back():
    history = History(topics=(LATEST,)).published(1, 5, topic=LATEST)
    history.began(primed=at(0, topic=LATEST)).got(2, 5, topic=LATEST)
    assert history.kinds() == []
    assert history.got(4, topic=LATEST).kinds() == ["order"]


def test_a_latest_value_given_twice_is_found():
    history = History(topics=(LATEST,)).published(1, 2, topic=LATEST).began(primed=at(0, topic=LATEST))
    assert history.got(2, 2, topic=LATEST).kinds() == ["repeat"]


def test_a_latest_value_that_has_not_come_is_found():
    history = History(topics=(LATEST,)).published(1, 2, topic=LATEST).began(primed=at(1, topic=LATEST))
    assert [reader for reader, _, _, _ in history.checker.behind()] == [0]


def test_the_topics_of_a_stream_do_not_disturb_each_other():
    history = History(topics=(TOPIC, OTHER)).published(1, 2)
    for id in ("x1", "x2"):
        history.record("intent", id=id, topic=OTHER).witnessed(int(id[1]), id, "x", OTHER)
    history.began(primed=f"{at(0)}&{at(0, topic=OTHER)}")
    history.event(f"{at(1)}&{at(0, topic=OTHER)}", "a1").event(f"{at(1, 'x', OTHER)}&{at(1)}", "x1")
    assert history.kinds() == []
    history.event(f"{at(2)}&{at(2, 'x', OTHER)}", "a2")  # passes over x2
    assert history.kinds() == ["gap"]


def test_an_event_without_an_id_is_found():
    assert History().published(1, 1).began().event(None, "a1").kinds() == ["no id"]


def test_a_reader_that_comes_back_with_nothing_begins_anew():
    history = History().published(1, 5).began().got(1).began(primed=at(4)).got(5)
    assert history.kinds() == []

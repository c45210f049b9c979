"""Topics: legal names, patterns, refusals, and group names that any channel layer takes."""

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from sse_app.topics import (
    IllegalTopic,
    ResetTo,
    TopicKind,
    TopicRule,
    TopicRules,
    UnknownTopic,
    group_name,
    require_legal,
)

LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"
LONGEST = "a" * 100

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)


@pytest.mark.parametrize("topic", ["a", "0", "Orders", "user.7", "a.b-c_d", "a..", "a-", LONGEST])
def test_a_legal_name_is_returned(topic):
    assert require_legal(topic) == topic


@pytest.mark.parametrize(
    ("topic", "shown"),
    [
        ("", "''"),
        (".a", "'.a'"),
        ("_a", "'_a'"),
        ("-a", "'-a'"),
        ("a b", "'a b'"),
        ("a/b", "'a/b'"),
        ("a=b", "'a=b'"),
        ("a&b", "'a&b'"),
        ("a{b}", "'a{b}'"),
        ("a:b", "'a:b'"),
        ("é", "'é'"),
        ("a\u0661", "'a\u0661'"),
        ("a\n", r"'a\n'"),
        ("a\0", r"'a\x00'"),
        ("." + "a" * 99, repr("." + "a" * 99)),
        ("a" * 101, "of 101 characters"),
        ("é" * 65536, "of 65536 characters"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_an_illegal_name_is_refused(topic, shown):
    for ask in (require_legal, TopicRules({"{any}": {}}).rule):
        with pytest.raises(IllegalTopic) as refusal:
            ask(topic)
        assert str(refusal.value) == f"illegal topic {shown}: {LEGAL}"


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("orders", ["orders"], ["order", "orders2", "Orders", "orders.1", "my-orders"]),
        ("room.{name}", ["room.a", "room.a-b_c", "room.1"], ["room", "room.", "room.a.b", "rooms.a"]),
        ("room.{name}.typing", ["room.a.typing"], ["room.a", "room.a.b.typing", "room..typing"]),
        ("{kind}", ["a", "orders"], ["a.b"]),
        ("{kind}.{id}", ["a.1", "user.x_y"], ["a", "a.", "a.b.c"]),
        ("v{major}.{minor}", ["v1.2"], ["v.2", "v1"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_a_placeholder_is_one_part_without_a_dot(pattern, matching, others):
    regex = TopicRule(pattern).regex()
    assert all(regex.fullmatch(topic) for topic in matching)
    assert not any(regex.fullmatch(topic) for topic in others)


def test_the_first_pattern_that_matches_decides():
    rules = TopicRules(
        {
            "room.lobby": {"kind": "latest"},
            "room.{name}": {"kind": "ephemeral"},
            "{any}.{name}": {"reset_to": "oldest"},
            "room.late": {},
        }
    )
    assert rules.rule("room.lobby").kind is TopicKind.LATEST
    assert rules.rule("room.late").kind is TopicKind.EPHEMERAL
    assert rules.rule("user.7") == TopicRule("{any}.{name}", TopicKind.DURABLE, ResetTo.OLDEST)


def test_a_topic_is_durable_and_goes_on_at_the_head_unless_declared_otherwise():
    assert TopicRules({"a": {}}).rule("a") == TopicRule("a", TopicKind.DURABLE, ResetTo.HEAD, None, None)


@pytest.mark.parametrize("keep", [None, 0, 1000])
@pytest.mark.parametrize("max_age", [None, 0, 86400, 0.5])
def test_a_topic_may_say_how_much_of_its_log_is_left(keep, max_age):
    rule = TopicRule.parse("a", {"keep": keep, "max_age": max_age})
    assert (rule.keep, rule.max_age) == (keep, max_age)


@pytest.mark.parametrize("kind", list(TopicKind))
@pytest.mark.parametrize("reset_to", list(ResetTo))
def test_options_are_given_as_text_or_as_members(kind, reset_to):
    rule = TopicRule("a", kind, reset_to)
    assert TopicRule.parse("a", {"kind": kind.value, "reset_to": reset_to.value}) == rule
    assert TopicRule.parse("a", {"kind": kind, "reset_to": reset_to}) == rule


@pytest.mark.parametrize("setting", [{}, {"orders": {}}, {"user.{id}": {}}])
def test_a_topic_that_no_pattern_declares_is_unknown(setting):
    with pytest.raises(UnknownTopic) as refusal:
        TopicRules(setting).rule("room.a")
    assert refusal.value.args == ("no topic 'room.a' is declared",)


KNOWN = "known are kind, reset_to, keep, max_age, snapshot, presence"
NO_WHOLE = "must be a whole number and not negative, not"
NO_SECONDS = "must be a number of seconds and not negative, not"
NO_PATTERN = "is not a topic pattern, such as 'orders' or 'room.{name}'"


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (["orders"], "must be a dict of patterns and their options, not ['orders']"),
        (None, "must be a dict of patterns and their options, not None"),
        ({"": {}}, f"'' {NO_PATTERN}"),
        ({7: {}}, f"7 {NO_PATTERN}"),
        ({"room *": {}}, f"'room *' {NO_PATTERN}"),
        ({"room.{}": {}}, f"'room.{{}}' {NO_PATTERN}"),
        ({"room.{a-b}": {}}, f"'room.{{a-b}}' {NO_PATTERN}"),
        ({"room.{name": {}}, f"'room.{{name' {NO_PATTERN}"),
        ({".{name}": {}}, f"'.{{name}}' {NO_PATTERN}"),
        ({"a" * 101: {}}, f"'{'a' * 101}' {NO_PATTERN}"),
        ({"a": "durable"}, "'a': the options must be a dict, not 'durable'"),
        ({"a": None}, "'a': the options must be a dict, not None"),
        ({"a": {"knid": "durable"}}, f"'a': unknown option 'knid'; {KNOWN}"),
        ({"a": {1: 2}}, f"'a': unknown option 1; {KNOWN}"),
        ({"a": {"kind": "durible"}}, "'a': kind 'durible' is not one of durable, ephemeral, latest"),
        ({"a": {"kind": "DURABLE"}}, "'a': kind 'DURABLE' is not one of durable, ephemeral, latest"),
        ({"a": {"kind": None}}, "'a': kind None is not one of durable, ephemeral, latest"),
        ({"a": {"kind": []}}, "'a': kind [] is not one of durable, ephemeral, latest"),
        ({"a": {"reset_to": "tail"}}, "'a': reset_to 'tail' is not one of head, oldest"),
        ({"a": {"keep": -1}}, f"'a': keep {NO_WHOLE} -1"),
        ({"a": {"keep": 1.5}}, f"'a': keep {NO_WHOLE} 1.5"),
        ({"a": {"keep": True}}, f"'a': keep {NO_WHOLE} True"),
        ({"a": {"max_age": -0.5}}, f"'a': max_age {NO_SECONDS} -0.5"),
        ({"a": {"max_age": float("inf")}}, f"'a': max_age {NO_SECONDS} inf"),
        ({"a": {"max_age": float("nan")}}, f"'a': max_age {NO_SECONDS} nan"),
        ({"a": {"max_age": "1 day"}}, f"'a': max_age {NO_SECONDS} '1 day'"),
        ({"a": {}, "b": {"kind": 1}}, "'b': kind 1 is not one of durable, ephemeral, latest"),
    ],
    ids=repr,
)
def test_a_setting_that_can_not_be_read_is_refused_with_what_is_wrong(setting, text):
    with pytest.raises(ValueError) as refusal:
        TopicRules(setting)
    assert str(refusal.value) == text


@given(names)
def test_every_topic_has_a_group_name_that_channel_layers_take(topic):
    assert BaseChannelLayer().require_valid_group_name(group_name(topic))


@given(st.sets(names | st.sampled_from([LONGEST, LONGEST[:90], LONGEST[:91]]), min_size=2))
def test_topics_never_share_a_group(topics):
    assert len({group_name(topic) for topic in topics}) == len(topics)


def test_topics_of_the_longest_names_have_groups_of_their_own():
    topics = [f"{number:03}".rjust(100, "a") for number in range(100)]
    groups = {group_name(topic) for topic in topics}
    assert len(groups) == 100
    assert all(BaseChannelLayer().require_valid_group_name(group) for group in groups)


def test_an_ordinary_group_can_be_recognised():
    assert group_name("room.lobby") == "sse.t.room.lobby"
    assert group_name("a" * 90) == f"sse.t.{'a' * 90}"
    assert group_name("a" * 91).startswith("sse.h.")

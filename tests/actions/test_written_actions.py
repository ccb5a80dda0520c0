"""What may be written under `do:`: what it becomes, and the plain words for what is wrong."""

import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from action_world import reread
from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML

from bot.actions import ACTIONS, WRITTEN
from bot.actions.base import Action
from bot.actions.notifier import AtMost
from bot.actions.share import Share
from bot.actions.slack import SLACK, Resolved, Slack
from bot.domain.causes import SERVICES, service
from bot.fields.catalogue import KINDS
from bot.messages.template_check import SAMPLES


def steps(key, value):
    spec = WRITTEN[key]
    return spec.steps(TypeAdapter(spec.written).validate_python(value))


def fault(key, value):
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(WRITTEN[key].written).validate_python(value)
    return "; ".join(error["msg"] for error in raised.value.errors(include_url=False))


@pytest.mark.parametrize("key", WRITTEN)
def test_every_example_is_valid_and_its_steps_survive_the_store(key):
    spec = WRITTEN[key]
    ((name, value),) = YAML(typ="safe", pure=True).load(spec.example).items()
    made = steps(name, value)
    assert made
    for step in made:
        assert reread(step).as_in_rule(made) == step
        assert service(step.lane(SAMPLES[spec.subjects[0]].subject, "#ux")) in SERVICES
        assert not any(secret in step.stored() for secret in step.secrets)
        assert ACTIONS[step.kind] is type(step)
        assert set(spec.subjects) <= set(step.watches)


def test_every_kind_of_step_can_be_read_back_under_its_own_name():
    models = [model for spec in WRITTEN.values() for model in spec.models]
    assert len({model.kind for model in models}) == len(models) == len(ACTIONS)
    leaves = {
        model
        for model in every_action(Action)
        if "kind" in vars(model) and model.__module__ in sys.modules  # not those of other tests
    }
    assert set(ACTIONS.values()) == leaves


def test_what_the_store_must_not_know_has_a_way_back():
    with pytest.raises(TypeError, match="write both"):

        class Pager(Action):
            kind = "pager"

            def as_stored(self):
                return self


def every_action(model):
    for inner in model.__subclasses__():
        if inner.__module__.startswith("bot."):
            yield inner
            yield from every_action(inner)


@pytest.mark.parametrize(
    ("kind", "stored", "expected"),
    [
        ("share", '{"expires":"PT12H"}', Share(expires=timedelta(hours=12))),
        ("share", '{"expires":"P2DT1H1M1S"}', Share(expires=timedelta(days=2, seconds=3661))),
        ("slack", '{"channel":"#a","at_most":{"times":3,"window_ms":60000}}',
         Slack(channel="#a", at_most=AtMost(times=3, window_ms=60000))),
        ("resolved", '{"channel":"","began":"2026-01-05T00:00:00.120000Z"}',
         Resolved(began=datetime(2026, 1, 5, microsecond=120000, tzinfo=UTC))),
    ],
)  # fmt: skip
def test_what_released_versions_have_stored_is_read(kind, stored, expected):
    assert ACTIONS[kind].restored(stored) == expected


@pytest.mark.parametrize("stored", ['{"tag":"a","colour":"red"}', '{"tag":1}', "{}", "[]", "tag"])
def test_what_another_version_has_stored_is_refused(stored):
    with pytest.raises(msgspec.MsgspecError):
        ACTIONS["tag"].restored(stored)


@pytest.mark.parametrize("key", WRITTEN)
def test_every_written_form_has_a_json_schema(key):
    assert TypeAdapter(WRITTEN[key].written).json_schema()


@pytest.mark.parametrize("spec", [it for it in WRITTEN.values() if "text" in it.templates])
def test_a_broken_text_is_listed_before_a_match_needs_it(spec):
    ((_, value),) = YAML(typ="safe", pure=True).load(spec.example).items()
    written = TypeAdapter(spec.written).validate_python({**value, "text": "{{ rule"})
    assert spec.problems(written, "recordings")


def test_a_list_of_tags_is_one_step_for_each():
    assert [step.tag for step in steps("tag", ["a", "b", "a"])] == ["a", "b"]


def test_share_false_takes_the_share_away():
    assert [step.kind for step in steps("share", False)] == ["unshare"]
    (share,) = steps("share", {"expires": "7d"})
    assert share.expires == timedelta(days=7)


def test_several_posts_are_several_steps():
    first, second = steps("slack", [{"channel": "#a", "at_most": "10 per hour"}, {}])
    assert first == Slack(channel="#a", at_most=AtMost(times=10, window_ms=3_600_000))
    assert second == Slack()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tag", "a,b", "may not have a comma"),
        ("tag", " ", "may not be empty"),
        ("tag", "*", "Mouseflow's own tag"),
        ("tag", "Shared", "Mouseflow's own tag"),
        ("tag", "x" * 101, "at most 100 characters"),
        ("tag", "a\nb", "control characters"),
        ("star", "yes", "boolean"),
        ("variables", {"a=b": 1}, "may not have ="),
        ("variables", {"a": [1]}, "write a text or a number"),
        ("variables", {"a": "x" * 2001}, "at most 2000 characters"),
        ("variables", {}, "at least 1"),
        ("share", {"expires": "7"}, "is not a duration"),
        ("share", {"expires": 7}, "a number and a unit"),
        ("slack", {"channel": None}, "# begins a comment"),
        ("slack", {"channel": "alerts"}, 'such as "#alerts"'),
        ("slack", {"at_most": "10"}, "is not a rate"),
        ("slack", {"at_most": "0 per hour"}, "from 1 to 999999"),
        ("slack", {"chanel": "#a"}, "Unexpected keyword"),
        ("webhook", {"url": "ftp://example.com"}, "begins with https://"),
        ("webhook", {"url": "https://a..b/"}, "no host can have that name"),
        ("webhook", {"url": f"https://{'a.' * 2000}com/"}, "no host can have that name"),
        ("webhook", {"url": "https://u:p@example.com"}, "may not hold a password"),
        ("webhook", {"url": "https://a.com", "secret": "env:A B"}, "env:NAME"),
        ("webhook", {"url": "https://a.com", "secret": "short"}, "at least 8"),
        ("recording", "pause", "'start' or 'stop'"),
        ("recording_rate", 0, "recording: stop"),
        ("recording_rate", 1, "ambiguous"),
        ("recording_rate", 101, "at most 100"),
        ("recording_rate", "lots", "whole percentage"),
        ("delete", False, "True"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(key, value, message):
    assert message in fault(key, value)


def test_no_error_repeats_a_secret():
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(WRITTEN["webhook"].written).validate_python(
            {"url": "https://u:hunter2@example.com", "secret": "hunter2"}
        )
    assert "hunter2" not in str(raised.value.errors(include_input=False))


def test_a_wrong_text_is_found_where_it_stands():
    written = TypeAdapter(SLACK.written).validate_python([{}, {"text": "a\n{{ frction }}"}])
    (problem,) = SLACK.problems(written, "recordings")
    assert (problem.path, problem.line, problem.column) == ((1, "text"), 2, 4)
    assert "did you mean friction?" in problem.message


def test_only_deleting_and_posting_need_something_of_the_configuration():
    assert {key: spec.needs for key, spec in WRITTEN.items() if spec.needs} == {
        "delete": "rules.allow_delete",
        "slack": "slack",
        "notify": "notify",
    }


def test_posts_fit_every_subject_and_writes_only_theirs():
    assert all(set(WRITTEN[key].subjects) == set(KINDS) for key in ("slack", "webhook"))
    assert WRITTEN["recording"].subjects == ("websites",)
    assert set(WRITTEN["share"].subjects) == {"recordings", "pages"}

"""A value that the API sends in a form that can't be read is unknown to rules, not missing."""

import pytest

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.fields.catalogue import fields
from bot.fields.field import AskedBy
from bot.polling.session import merge
from bot.rules.evaluate import RuleList
from bot.rules.explain import explain, lines
from bot.rules.files.load import read
from bot.rules.index import RuleIndex
from bot.rules.unread import _reads, unread
from mouseflow import decode
from mouseflow.models import Recording

VIEW = {"websitePage": "/cart", "visitTime": 9000, "scroll": 50, "tags": ["click-rage"]}
ROW = {"id": "r1", "duration": 95_000, "device": "Phone", "tags": ["vip"], "pageViews": [VIEW]}
ODD = {"an": "object"}


def row(**odd):
    """A recording as the client reads it."""
    return decode.lenient(ROW | odd, Recording)


def rules_of(condition, more=""):
    rule = f"{{watch: recordings, when: {condition}, {more}do: {{star: true}}}}"
    return read([("r.yaml", f"version: 1\nrules: {{r: {rule}}}".encode())]).rules


def answers(condition, recording, excepts=""):
    """What the walk and the index say of the rule: yes, no or unknown."""
    rules = rules_of(condition, f"except: {excepts}, " if excepts else "")
    subject = RecordingSubject(website=Site("w", "shop.example"), recording=recording, zone="UTC")
    said = []
    for group in (RuleList(rules), RuleIndex(rules)):
        decision = group.decide(subject)
        assert group.sure(subject) == decision.sure == group.sure_of_all([subject])[0]
        said.append("yes" if decision.sure else "unknown" if decision.open else "no")
    assert said[0] == said[1]
    return said[0]


@pytest.mark.parametrize(
    ("condition", "missing"),
    [
        ("{duration: {exists: false}}", "yes"),
        ("{not: {duration: {over: 60s}}}", "yes"),
        ("{duration: {over: 60s}}", "no"),
    ],
)
def test_an_odd_value_is_unknown_where_a_missing_one_is_an_answer(condition, missing):
    assert answers(condition, row(duration=None)) == missing
    assert answers(condition, row(duration=ODD)) == "unknown"


def test_an_exception_that_can_not_be_read_lets_no_rule_act():
    assert answers("{device: phone}", row(), "{duration: {under: 60s}}") == "yes"
    assert answers("{device: phone}", row(duration=ODD), "{duration: {under: 60s}}") == "unknown"


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("{tags: vip}", "yes"),
        ("{tags: gold}", "unknown"),
        ("{not: {tags: gold}}", "unknown"),
        ("{tags: {exists: false}}", "no"),
    ],
)
def test_what_could_be_read_of_a_list_counts(condition, said):
    assert answers(condition, row(tags=["vip", ODD])) == said


def test_an_odd_value_costs_only_what_reads_it():
    odd = row(pageViews=[VIEW | {"scroll": ODD}], country=ODD)
    assert unread(odd) == {"page_views.scroll", "country"}
    assert answers("{saw_page: /cart}", odd) == "yes"
    assert answers("{saw_page: {not: /pay}}", odd) == "yes"
    assert answers("{duration: {over: 60s}, device: phone}", odd) == "yes"
    assert answers("{page: {path: /cart, scroll: {over: 20}}}", odd) == "unknown"
    assert answers("{page: {path: /cart, time: {over: 5s}}}", odd) == "yes"
    assert answers("{country: {exists: false}}", odd) == "unknown"


def test_a_page_view_that_can_not_be_read_is_a_page_that_may_have_been_seen():
    odd = row(pageViews=[VIEW, 17])
    assert answers("{saw_page: /cart}", odd) == "yes"
    assert answers("{not: {saw_page: /pay}}", odd) == "unknown"


def test_the_other_answer_may_have_what_one_lacks():
    for whole in (merge(row(duration=ODD), row()), merge(row(), row(duration=ODD))):
        assert whole.duration == 95_000
        assert [bad.field for bad in whole.bad_values] == ["duration"]
        assert unread(whole) == frozenset()
    assert unread(merge(row(duration=ODD), row(duration=ODD))) == {"duration"}


def test_the_explanation_says_so():
    (rule,) = rules_of("{duration: {over: 60s}}")
    subject = RecordingSubject(website=Site("w", "x"), recording=row(duration=ODD), zone="UTC")
    assert "? duration over 60 s: no data, the API's value can't be read" in "\n".join(
        lines(explain(rule, subject))
    )


def test_every_field_tells_what_it_reads():
    for about in fields("recordings"):
        if about.type != "items" and about.asked_by not in (AskedBy.VISITOR_TYPE, AskedBy.SEARCH):
            assert _reads(about.raw), about.name


def test_a_friction_that_the_server_has_told_is_known_though_the_row_has_an_odd_one():
    rules = rules_of("{friction: {min: 2}}")
    odd = row(friction=ODD)
    subject = RecordingSubject(
        website=Site("w", "x"), recording=odd, zone="UTC", friction=Band(2.5)
    )
    assert RuleIndex(rules).sure(subject) == rules

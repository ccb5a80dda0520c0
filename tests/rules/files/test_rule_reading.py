"""Rule files become rules: every key, every operator, both formats, many files at once."""

from datetime import timedelta

import pytest

from bot.errors import RuleErrors
from bot.rules.files.actions import Allowed
from bot.rules.files.load import ALLOWED, read
from bot.rules.model import (
    AfterDowntime,
    All,
    AnyOf,
    BudgetStep,
    Count,
    Journey,
    Not,
    OncePer,
    OneItem,
    Pace,
)
from bot.rules.model import Test as Asks  # pytest would collect a Test
from bot.rules.operators import OPERATORS
from bot.rules.operators.figures import Bounds, Moments, Numbers, Versions
from bot.rules.operators.past import Change, Unusual
from bot.rules.operators.texts import Every, NoneOf, OneOf, OtherThan, Pattern
from bot.rules.operators.yes_no import Exists, Is
from bot.rules.units import Active, Rate

HEAD = "version: 1\nrules:\n  one:\n    watch: {watch}\n"


def one(body, watch="recordings", allowed=ALLOWED):
    """The one rule with these keys."""
    text = HEAD.format(watch=watch)
    for key, filler in (("when", "{tags: a}"), ("do", "{slack: {}}")):
        if f"{key}:" not in body:
            text += f"    {key}: {filler}\n"
    text += "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    (rule,) = read([("a.yaml", text.encode())], allowed=allowed).rules
    return rule


def when(body, watch="recordings"):
    return one(f"when: {body}", watch).when


def faults(*files, allowed=ALLOWED):
    with pytest.raises(RuleErrors) as caught:
        read([(name, text.encode()) for name, text in files], allowed=allowed)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("{country: DE}", Asks("country", OneOf(("DE",)))),
        ("{country: [de, at]}", Asks("country", OneOf(("de", "at")))),
        ("{country: NO}", Asks("country", OneOf(("NO",)))),
        ("{country: {not: [us, ca]}}", Asks("country", NoneOf(("us", "ca")))),
        ("{country: {not: us}}", Asks("country", NoneOf(("us",)))),
        ("{tags: {other_than: a*}}", Asks("tags", OtherThan(("a*",)))),
        ("{tags: {all: [a, b]}}", Asks("tags", Every(("a", "b")))),
        (
            "{tags: {all: a, not: b}}",
            All((Asks("tags", Every(("a",))), Asks("tags", NoneOf(("b",))))),
        ),
        ("{city: {matches: '^b'}}", Asks("city", Pattern("^b"))),
        ("{visitor_name: {exists: false}}", Asks("visitor_name", Exists(False))),
        ("{starred: true}", Asks("starred", Is(True))),
        ("{pages: 3}", Asks("pages", Numbers((3.0,)))),
        ("{pages: [3, 4]}", Asks("pages", Numbers((3.0, 4.0)))),
        ("{friction: {min: 2.5, under: 9}}", Asks("friction", Bounds(min=2.5, under=9.0))),
        ("{duration: {over: 1m30s}}", Asks("duration", Bounds(over=90_000))),
        ("{duration: {max: 2h}}", Asks("duration", Bounds(max=7_200_000))),
        ("{hour: {min: 9, under: 17}}", Asks("hour", Bounds(min=9.0, under=17.0))),
        ("{journey: [/cart, /checkout*]}", Journey(("/cart", "/checkout*"))),
        ("{journey: /cart}", Journey(("/cart",))),
        (
            "{page: {path: /x*, scroll: {under: 25%}, tags: [a, b], time: {min: 10s}}}",
            OneItem(
                "page",
                (
                    Asks("path", OneOf(("/x*",))),
                    Asks("scroll", Bounds(under=25.0)),
                    Asks("tags", OneOf(("a", "b"))),
                    Asks("time", Bounds(min=10_000)),
                ),
            ),
        ),
        ("{variables: {plan: gold}}", Asks("variables", OneOf(("gold",)), "plan")),
        (
            "{variables: {cart-value: {min: 100}, plan: {not: free}}}",
            All(
                (
                    Asks("variables", Bounds(min=100.0), "cart-value"),
                    Asks("variables", NoneOf(("free",)), "plan"),
                )
            ),
        ),
        (
            "{any: [{country: de}, {all: [{tags: a}, {not: {tags: b, city: x}}]}], tags: c}",
            All(
                (
                    AnyOf(
                        (
                            Asks("country", OneOf(("de",))),
                            All(
                                (
                                    Asks("tags", OneOf(("a",))),
                                    Not(
                                        All(
                                            (
                                                Asks("tags", OneOf(("b",))),
                                                Asks("city", OneOf(("x",))),
                                            )
                                        )
                                    ),
                                )
                            ),
                        )
                    ),
                    Asks("tags", OneOf(("c",))),
                )
            ),
        ),
    ],
)  # fmt: skip
def test_conditions_mean_what_they_say(written, condition):
    assert when(written) == condition


@pytest.mark.parametrize(
    ("watch", "written", "condition"),
    [
        (
            "recordings",
            "{os_version: {min: 17.10, under: '18'}}",
            Asks("os_version", Versions(min=(17, 10), under=(18,))),
        ),
        (
            "recordings",
            "{created: {after: 2026-05-01, before: '2026-05-11T18:00'}}",
            Asks("created", Moments(after="2026-05-01 00:00:00", before="2026-05-11 18:00:00")),
        ),
        ("feedback", "{response_rate: {under: 2%}}", Asks("response_rate", Bounds(under=2.0))),
        ("funnels", "{conversion: 20}", Asks("conversion", Numbers((20.0,)))),
        (
            "funnels",
            "{conversion: {drops_by: 20%, against: 7d, max: 50%}}",
            All(
                (
                    Asks("conversion", Bounds(max=50.0)),
                    Asks("conversion", Change(drops_by=20.0, against=604_800_000)),
                )
            ),
        ),
        (
            "websites",
            "{recordings: {below_usual: 50%, above_usual: 300}}",
            Asks("recordings", Unusual(below_usual=50.0, above_usual=300.0)),
        ),
        (
            "funnels",
            "{step: {name: Pay, dropped: {over: 50}}}",
            OneItem("step", (Asks("name", OneOf(("Pay",))), Asks("dropped", Bounds(over=50.0)))),
        ),
        (
            "forms",
            "{field: {time: {over: 20s}}}",
            OneItem("field", (Asks("time", Bounds(over=20_000)),)),
        ),
        ("pages", "{render_time: {over: 4s}}", Asks("render_time", Bounds(over=4000))),
        ("websites", "{status: NotInstalled}", Asks("status", OneOf(("NotInstalled",)))),
    ],
)  # fmt: skip
def test_levels_have_conditions_too(watch, written, condition):
    assert when(written, watch) == condition


def test_every_operator_is_among_the_conditions_above():
    assert [it.__name__ for it in OPERATORS if it not in globals().values()] == []


def test_one_exception_is_enough():
    rule = one("except: {tags: [a, b], country: de}")
    assert rule.excepts == AnyOf((Asks("tags", OneOf(("a", "b"))), Asks("country", OneOf(("de",)))))


def test_every_key_of_a_recordings_rule_is_read():
    rule = one(
        """
summary: What for
websites: [myshop.com, "*.test"]
once_per: {visitor: 1d}
count: {at_least: 15, within: 10m, by: page}
safety: {at_most: 200 per hour}
active: mon-fri 08:00-18:00
after_downtime: {act_up_to: 2h, older: drop}
was: [old, older]
"""
    )
    assert (rule.summary, rule.websites) == ("What for", ("myshop.com", "*.test"))
    assert rule.once_per == OncePer("visitor", timedelta(days=1))
    assert rule.count == Count(15, timedelta(minutes=10), "page")
    assert rule.safety == Rate(200, timedelta(hours=1))
    assert rule.active == Active(frozenset(range(5)), 480, 1080)
    assert rule.after_downtime == AfterDowntime(timedelta(hours=2), "drop")
    assert (rule.was, rule.file, rule.line, rule.column) == (("old", "older"), "a.yaml", 3, 3)


def test_every_key_of_a_level_rule_is_read():
    rule = one(
        """
when: {conversion: {under: 20%}}
for: 15m
until: {conversion: {min: 25%}}
resolved: true
over_last: 7d
visitors: {device: Phone, country: DE}
""",
        "funnels",
    )
    assert rule.held_for == timedelta(minutes=15)
    assert rule.until == Asks("conversion", Bounds(min=25.0))
    assert rule.resolved is True
    assert rule.over_last == timedelta(days=7)
    assert rule.visitors == {"device": "phone", "country": "de"}


def test_actions_are_steps_in_the_order_of_the_file():
    rule = one("do: {star: true, tag: [a, b], share: {expires: 7d}, slack: [{}, {channel: '#x'}]}")
    assert [step.kind for step in rule.do] == ["star", "tag", "tag", "share", "slack", "slack"]


def test_the_configuration_decides_about_deleting_posting_and_channels():
    delete = HEAD.format(watch="recordings") + "    when: {tags: a}\n    do: {delete: true}\n"
    assert one("do: {delete: true}", allowed=Allowed(delete=True)).do[0].kind == "delete"
    assert len(faults(("a.yaml", delete))) == 1
    slack = HEAD.format(watch="recordings") + "    when: {tags: a}\n    do: {slack: {}}\n"
    (said,) = faults(("a.yaml", slack), allowed=Allowed(posts=False))
    assert "Slack is not configured" in said
    (said,) = faults(("a.yaml", slack), allowed=Allowed(channel=False))
    assert said == (
        "a.yaml:6:10: rules.one.do.slack: set a channel here, or under [slack] in the configuration"
    )
    assert one("do: {slack: {channel: '#x'}}", allowed=Allowed(channel=False)).do


def test_the_faults_of_all_files_come_at_once_by_file_and_line():
    bad = (
        "version: 2\nrules:\n  {id}:\n    watch: recordings\n    when: {{x: 1}}\n    do: {{y: 1}}\n"
    )
    said = faults(
        ("b.yaml", bad.replace("{id}", "b").replace("{{", "{").replace("}}", "}")),
        ("c.toml", "version = 1\nrules = 3\n"),
        ("a.yaml", "- x\n"),
        ("d.yaml", "a: [\n"),
    )
    assert [line.split(": ")[0] for line in said] == [
        "a.yaml:1:1", "b.yaml:1:10", "b.yaml:5:12", "b.yaml:6:10", "c.toml:2:9", "d.yaml:2:1",
    ]  # fmt: skip


def test_two_rules_with_one_id_name_the_other_place():
    good = HEAD.format(watch="recordings") + "    when: {tags: a}\n    do: {star: true}\n"
    bad = good.replace("tags", "tgas")
    assert faults(("a.yaml", good), ("sub/b.yaml", good)) == [
        "sub/b.yaml:3:3: rules.one: duplicate id; it is already at a.yaml:3"
    ]
    with pytest.raises(RuleErrors) as raised:  # said once: no warning that both do the same
        read([("a.yaml", good.encode()), ("sub/b.yaml", good.encode())])
    assert raised.value.warnings == ()
    assert "sub/b.yaml:3:3: rules.one: duplicate id; it is already at a.yaml:3" in faults(
        ("a.yaml", bad), ("sub/b.yaml", good)
    ), "also where one of them has faults"


def test_a_rule_and_a_budget_may_share_an_id():
    text = HEAD.format(watch="recordings") + "    when: {tags: a}\n    do: {star: true}\n"
    text += "budgets:\n  one: {websites: [a], recordings: 5, period: day, pace: true}\n"
    found = read([("a.yaml", text.encode())])
    assert (found.rules[0].id, found.budgets[0].id) == ("one", "one")


def test_budgets_are_read_whole():
    text = """
version: 1
budgets:
  credits:
    summary: The plan
    websites: [a.com, b.com]
    recordings: 50000
    period: month
    starts_on: 15
    steps:
      100%: {recording: stop, slack: {channel: "#ops"}}
      80.5%: {recording_rate: 25}
    resume: true
    pace: {min: 20%, max: 90}
"""
    (budget,) = read([("a.yaml", text.encode())]).budgets
    assert (budget.id, budget.summary, budget.websites) == (
        "credits",
        "The plan",
        ("a.com", "b.com"),
    )
    assert (budget.recordings, budget.period, budget.starts_on) == (50_000, "month", 15)
    assert [step.at for step in budget.steps] == [80.5, 100.0]
    assert isinstance(budget.steps[0], BudgetStep)
    assert [[act.kind for act in step.do] for step in budget.steps][1][-1] == "slack"
    assert (budget.resume, budget.pace) == (True, Pace(20.0, 90.0))


def test_the_digest_changes_with_the_content_alone():
    text = (
        HEAD.format(watch="recordings") + "    when: {tags: a}\n    do: {star: true}\n"
    ).encode()
    other = text.replace(b"one", b"two")
    digest = read([("a.yaml", text), ("b.yaml", other)]).digest
    assert digest == read([("x.yaml", other), ("y.yaml", text)]).digest
    assert digest != read([("a.yaml", text)]).digest


def test_no_files_make_an_empty_rule_set():
    assert read([]).rules == ()


def test_aliases_repeat_whole_values():
    text = HEAD.format(watch="recordings") + (
        "    when: {tags: &t [a, b]}\n    except: {country: *t}\n    do: {tag: *t}\n"
    )
    (rule,) = read([("a.yaml", text.encode())]).rules
    assert rule.excepts == Asks("country", OneOf(("a", "b")))
    assert [step.tag for step in rule.do] == ["a", "b"]


def test_the_warnings_are_told_beside_the_faults():
    text = """
version: 1
rules:
  one: {watch: recordings, when: {country: Germany}, do: {star: true}}
  two: {watch: recordings, when: {frction: 1, hour: 24}, do: {star: true}}
  three: {watch: recordings, when: {hour: 24}, do: {star: true}, silence: never-holds}
"""
    with pytest.raises(RuleErrors) as caught:
        read([("a.yaml", text.encode())])
    assert [fault.path for fault in caught.value.faults] == ["rules.two.when.frction"]
    assert [(fault.path, fault.lint) for fault in caught.value.warnings] == [
        ("rules.one.when.country", "unusual-value"),
        ("rules.two.when.hour", "never-holds"),
    ]

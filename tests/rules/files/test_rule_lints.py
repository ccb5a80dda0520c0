"""Warnings: each lint finds its fault, leaves good rules alone, and can be silenced."""

import pytest
from broken_files import FAULTS, cases, expected

from bot.rules.files.actions import Allowed
from bot.rules.files.lints import LINTS
from bot.rules.files.load import ALLOWED, read

RULE = """
version: 1
rules:
  one:
    watch: {watch}
    when: {when}
    {more}
    do: {do}
"""


def warned(when, more="summary: x", do="{star: true}", watch="recordings", allowed=ALLOWED):
    text = RULE.format(when=when, more=more, do=do, watch=watch)
    found = read([("a.yaml", text.encode())], allowed=allowed).warnings
    return [fault.lint for fault in found]


def test_each_lint_has_a_golden_case_or_a_test_of_its_own():
    golden = {lint for lint in LINTS for text in expected().values() if f"[{lint}]" in text}
    assert set(LINTS) - golden == {"learns", "share-without-url", "waits", "webhook-channel"}


@pytest.mark.parametrize(
    "when",
    [
        "{device: phone, all: [{device: desktop}]}",
        "{pages: {min: 5}, all: [{pages: {under: 5}}]}",
        "{pages: 3, any: [{pages: 4}], all: [{pages: {max: 2}}]}",
        "{pages: 3, all: [{pages: {over: 3}}]}",
        "{starred: true, not: {starred: true}}",
        "{starred: true, all: [{starred: false}]}",
        "{country: de, all: [{country: {not: [de, at]}}]}",
        "{country: {exists: false}, all: [{country: de}]}",
        "{any: [{device: phone, all: [{device: tablet}]}, {pages: 1, all: [{pages: 2}]}]}",
        "{duration: {over: 60s}, not: {duration: {min: 30s}}}",
        "{duration: {min: 60s, under: 60s}}",
        "{hour: {min: 24}}",
    ],
)
def test_what_can_never_hold_is_found(when):
    assert "never-holds" in warned(when)


@pytest.mark.parametrize(
    "when",
    [
        "{tags: a, all: [{tags: b}]}",
        "{device: phone, any: [{device: [phone, tablet]}]}",
        "{country: 'd*', all: [{country: de}]}",
        "{pages: {min: 5}, all: [{pages: {max: 5}}]}",
        "{duration: {min: 60s}, not: {duration: {over: 90s}}}",
        "{variables: {a: x}, all: [{variables: {a: y}}]}",
        "{visitor_name: {exists: false}, not: {visitor_id: {exists: false}}}",
        "{any: [{device: phone, all: [{device: tablet}]}, {pages: {min: 1}}]}",
        "{saw_page: /a, all: [{saw_page: /b}]}",
    ],
)
def test_what_can_hold_is_left_alone(when):
    assert warned(when) == []


@pytest.mark.parametrize(
    ("watch", "when"),
    [
        ("funnels", "{conversion: {under: 200%}}"),
        ("funnels", "{step: {name: Payment, conversion: {max: 100%}}}"),
        ("funnels", "{step: {name: Payment, count: {min: 0}}}"),
        ("forms", "{completion: {min: 0%}}"),
        ("forms", "{field: {name: email, blanks: {min: 0}}}"),
        ("funnels", "{step: {name: Payment, dropped: {over: -1}}}"),
        ("feedback", "{responses: {over: -1}}"),
        ("pages", "{scroll: {min: 0%, max: 100%}}"),
        ("websites", "{recording_rate: {max: 100%}}"),
        ("recordings", "{duration: {min: 0s}}"),
        ("recordings", "{not: {pages: {min: 0}}}"),
        ("recordings", "{hour: {under: 24}}"),
    ],
)
def test_bounds_that_every_figure_meets_are_found(watch, when):
    do = "{star: true}" if watch == "recordings" else "{slack: {}}"
    assert warned(when, watch=watch, do=do) == ["always-true"]


@pytest.mark.parametrize(
    ("watch", "when"),
    [
        ("recordings", "{friction: {min: -1}}"),  # a site's own friction may be negative
        ("recordings", "{friction: {min: 0}}"),
        ("recordings", "{variables: {balance: {min: 0}}}"),
        ("recordings", "{pages: {min: 0, max: 2}}"),
        ("recordings", "{pages: {over: 0}}"),
        ("recordings", "{hour: {min: 0, under: 23}}"),
        ("recordings", "{page: {path: /a, scroll: {min: 0%, under: 100%}}}"),
        ("forms", "{completion: {max: 100%}}"),  # of those who began here, not of all who sent
        ("feedback", "{response_rate: {under: 200%}}"),
        ("websites", "{budget_used: {max: 100%}}"),
        ("websites", "{recording_rate: {under: 100%}}"),
    ],
)
def test_bounds_that_some_figure_does_not_meet_are_left_alone(watch, when):
    do = "{star: true}" if watch == "recordings" else "{slack: {}}"
    assert warned(when, watch=watch, do=do) == []


@pytest.mark.parametrize(
    ("watch", "when"),
    [
        ("recordings", "{pages: {max: -1}}"),
        ("recordings", "{pages: -3}"),
        ("recordings", "{hour: {over: 23}}"),
        ("recordings", "{hour: {under: 0}}"),
        ("feedback", "{responses: {under: 0}}"),
        ("websites", "{recording_rate: {over: 100%}}"),
        ("pages", "{views: {min: -5, under: 0}}"),
    ],
)
def test_figures_that_no_subject_can_have_are_found(watch, when):
    do = "{star: true}" if watch == "recordings" else "{slack: {}}"
    assert warned(when, watch=watch, do=do) == ["never-holds"]


@pytest.mark.parametrize(
    ("when", "excepts"),
    [
        ("{country: de}", "{country: [de, at]}"),
        ("{country: de}", "{country: 'd*'}"),
        ("{friction: {min: 5}, tags: a}", "{friction: {over: 2}}"),
        ("{pages: 3}", "{pages: {min: 2, max: 4}}"),
        ("{country: de}", "{country: {exists: true}}"),
        ("{tags: a, city: x}", "{all: [{city: x}, {tags: [a, b]}]}"),
        ("{any: [{tags: a}, {tags: b}]}", "{tags: [a, b], city: x}"),
        ("{page: {path: /a, tags: x}}", "{page: {path: /a*}}"),
    ],
)
def test_a_rule_that_its_exceptions_swallow_is_found(when, excepts):
    assert warned(when, f"except: {excepts}") == ["shadowed"]


@pytest.mark.parametrize(
    ("when", "excepts"),
    [
        ("{country: [de, at]}", "{country: de}"),
        ("{friction: {min: 2}}", "{friction: {min: 5}}"),
        ("{country: 'd*'}", "{country: de}"),
        ("{tags: a}", "{all: [{tags: a}, {city: x}]}"),
        ("{any: [{tags: a}, {tags: b}]}", "{tags: a}"),
        ("{page: {path: /a}}", "{page: {path: /a, tags: x}}"),
    ],
)
def test_a_rule_with_room_beside_its_exceptions_is_left_alone(when, excepts):
    assert warned(when, f"except: {excepts}") == []


def test_a_share_without_an_address_is_found_where_the_configuration_is_known():
    share = {"do": "{share: {expires: 7d}}"}
    assert warned("{tags: a}", **share) == []
    assert warned("{tags: a}", **share, allowed=Allowed(share_url=True)) == []
    assert warned("{tags: a}", **share, allowed=Allowed(share_url=False)) == ["share-without-url"]


def test_a_channel_is_ignored_by_an_incoming_webhook():
    webhook = Allowed(any_channel=False)
    assert warned("{tags: a}", do='{slack: {channel: "#x"}}') == []
    assert warned("{tags: a}", do="{slack: {}}", allowed=webhook) == []
    posts = '{slack: [{channel: "#x"}, {}, {channel: "#y"}]}'
    assert warned("{tags: a}", do=posts, allowed=webhook) == ["webhook-channel"] * 2


def test_friction_beside_a_page_with_tags_is_left_alone():
    assert warned("{friction: {min: 5}, page: {path: /checkout*, tags: click-rage}}") == []


def test_personal_data_in_the_built_in_message_is_no_matter():
    assert warned("{tags: a}", do="{slack: {}}") == []
    assert warned("{tags: a}", do="{slack: {text: '{{ friction }} {{ city }}'}}") == []
    assert warned("{tags: a}", do="{slack: {text: '{{ visitor_name }}'}}") == ["personal-data"]


def linted():
    return [path for path in cases() if "lint-" in path.name]


@pytest.mark.parametrize("path", linted(), ids=lambda path: path.name)
def test_each_warning_can_be_silenced_in_its_file(path):
    data = path.read_bytes()
    lints = {fault.lint for fault in read([(path.name, data)]).warnings}
    ids = str(sorted(lints))
    line = f"silence: {ids}\n" if path.suffix == ".yaml" else f"silence = {ids}\n"
    assert lints
    assert read([(path.name, line.encode() + data)]).warnings == ()


def test_each_warning_can_be_silenced_in_its_rule():
    silent = "silence: [friction-scale]"
    assert warned("{friction: {min: 60}}", silent) == []
    assert warned("{friction: {min: 60}}", "silence: never-holds") == ["friction-scale"]


def test_silence_holds_for_that_rule_and_that_file_alone():
    text = (FAULTS / "lint-friction-scale.yaml").read_text()
    quiet = text.replace("    watch", "    silence: friction-scale\n    watch")
    loud = text.replace("one:", "one-two:")
    found = read([("a.yaml", quiet.encode()), ("b.yaml", loud.encode())]).warnings
    scale = [fault for fault in found if fault.lint == "friction-scale"]
    assert [(fault.file, fault.path) for fault in scale] == [
        ("b.yaml", "rules.one-two.when.friction.min")
    ]


def nested(group, depth):
    return f"{{{group}: [" * depth + "{country: de}" + "]}" * depth


@pytest.mark.parametrize(
    ("when", "excepts"),
    [
        (nested("all", 14), nested("any", 14).replace("de", "at")),
        (nested("any", 14), nested("all", 14).replace("de", "at")),
        (f"{{any: {[{'tags': f't{n}'} for n in range(3000)]}}}",) * 2,
        (f"{{all: {[{'tags': f't{n}'} for n in range(3000)]}}}",) * 2,
        (
            f"{{tags: {[f't{n}' for n in range(9000)]}}}",
            f"{{tags: {[f'u{n}' for n in range(9000)]}}}",
        ),
    ],
)
def test_looking_for_warnings_ends_soon_on_any_condition(when, excepts):
    assert set(warned(when, f"except: {excepts}")) <= {"shadowed"}


SPOTS = """\
version: 1
rules:
  one:
    watch: recordings
    when:
      device: phone
      {when}
    {more}
    do:
      star: true
      {do}
"""


@pytest.mark.parametrize(
    ("lint", "path", "key", "parts"),
    [
        ("never-holds", "when.not", "not:", {"when": "not: {device: phone}"}),
        ("never-holds", "when.all.0.device", "device:", {"when": "all: [{device: desktop}]"}),
        (
            "never-holds",
            "when.any.0.all.0.pages",
            "pages: 2",
            {"when": "any: [{pages: 1, all: [{pages: 2}]}]"},
        ),
        (
            "never-holds",
            "when.all.1.country",
            "country: at",
            {"when": "all: [{country: de}, {pages: 1, country: at}]"},
        ),
        ("never-holds", "when.pages.under", "under:", {"when": "pages: {min: 5, under: 5}"}),
        ("friction-scale", "when.friction.min", "60}", {"when": "friction: {min: 60}"}),
        ("tag-comma", "when.tags.not.1", "'b,c'", {"when": "tags: {not: [a, 'b,c']}"}),
        ("unusual-value", "when.tags", "rage-click", {"when": "tags: rage-click"}),
        (
            "unusual-value",
            "when.page.tags.1",
            "Dead",
            {"when": "page: {tags: [submit, Dead clicks]}"},
        ),
        ("shadowed", "except.device", "device:", {"more": "except: {country: de, device: 'p*'}"}),
        (
            "shadowed",
            "except",
            "except:",
            {"when": "any: [{tags: a}, {tags: b}]", "more": "except: {tags: a, all: [{tags: b}]}"},
        ),
        (
            "friction-on-page",
            "when.all.0.page",
            "page:",
            {"when": "all: [{page: {path: /a}}, {friction: {min: 5}}]"},
        ),
        (
            "personal-data",
            "do.slack.text",
            "ip }}",
            {"do": "slack: {text: '{{ country }} {{ ip }}'}"},
        ),
        (
            "personal-data",
            "do.slack.1.text",
            "ip }}",
            {"do": "slack: [{}, {text: 'by {{ ip }}'}]"},
        ),
        ("share-without-url", "do.share", "share:", {"do": "share: {expires: 7d}"}),
        (
            "unread-given",
            "tests.0.given.country",
            "country:",
            {"more": "tests: [{given: {device: phone, country: de}, expect: match}]"},
        ),
    ],
)
def test_each_warning_points_at_the_key_it_is_about(lint, path, key, parts):
    blank = {"when": "duration: {min: 1s}", "more": "summary: x", "do": "tag: a"}
    text = SPOTS
    for name, part in (blank | parts).items():
        text = text.replace(f"{{{name}}}", part)
    (found,) = read([("a.yaml", text.encode())], allowed=Allowed(share_url=False)).warnings
    assert (found.lint, found.path) == (lint, f"rules.one.{path}")
    assert text.splitlines()[found.line - 1][found.column - 1 :].startswith(key)


def test_warnings_point_into_toml_tables_and_lines_of_long_texts():
    text = """\
version = 1
[rules.one]
watch = "recordings"
when."device" = "phone"
except = { pages = 3, "device" = "phone" }
[[rules.one.do.slack]]
[[rules.one.do.slack]]
text = \"\"\"
From {{ country }}:
  {{ ip }} again
\"\"\"
"""
    found = read([("a.toml", text.encode())]).warnings
    assert [(fault.lint, fault.line, fault.column) for fault in found] == [
        ("shadowed", 5, 23),
        ("personal-data", 10, 6),
    ]


def test_two_conditions_that_exclude_one_another_are_both_named():
    text = SPOTS.replace("{when}", "all: [{device: desktop}]").replace("{more}", "summary: x")
    (found,) = read([("a.yaml", text.replace("{do}", "tag: a").encode())]).warnings
    assert found.message == "nothing can meet this and device (line 6)"


@pytest.mark.parametrize(
    "when",
    [
        "{ip: '213.252.153.*', browser_version: '45.*', referrer: '*google.*', lang: 'de*'}",
        "{saw_page: /index.*, entry_page: '/a(b)', exit_page: '/c-[1]'}",
        "{saw_page: {matches: '^/p/[0-9]+$'}, city: {matches: '(Bonn|Ulm)'}}",
        "{journey: [/cart, '/a,b']}",
        "{page: {path: /a, scroll: {under: 0.5%}}}",
        "{country: {not: [gb, 'd*']}}",
        "{entry_url: '*?utm_source=x*', screen: 1920x1200}",
        "{variables: {sku: a-b, note: exist}}",
    ],
)
def test_texts_that_are_meant_as_they_stand_are_left_alone(when):
    assert warned(when) == []


@pytest.mark.parametrize(
    ("when", "more", "path"),
    [
        ("{pages: {max: 3}, device: phone}", "summary: x", "when.pages"),
        ("{device: phone, all: [{exit_page: /pay}]}", "summary: x", "when.all"),
        ("{device: phone}", "except: {country: de, tags: [internal]}", "except.tags"),
        ("{not: {tags: submit}}", "except: {tags: a}", "when.not"),
        ("[{device: phone}, {pages: {under: 2}}]", "summary: x", "when"),
    ],
)
def test_a_note_names_the_key_for_which_a_rule_waits(when, more, path):
    text = RULE.format(when=when, more=more, do="{star: true}", watch="recordings")
    if when.startswith("["):
        text = text.replace(when, f"{{any: {when}}}")
        path = "when.any"
    (note,) = read([("a.yaml", text.encode())]).notes
    assert note.path == f"rules.one.{path}"
    assert note.lint == "waits"
    silenced = text.replace("    do:", "    silence: [waits]\n    do:")
    assert read([("a.yaml", silenced.encode())]).notes == ()


@pytest.mark.parametrize(
    ("watch", "when", "said"),
    [
        ("pages", "{views: {above_usual: 200%}}", "known after 21 d: "),
        ("pages", "{visit_time: {above_usual: 200%}}", ""),
        ("funnels", "{conversion: {below_usual: 50%}}", ""),
        ("funnels", "{entered: {below_usual: 50%}}", "known after 21 d: "),
        ("funnels", "{entered: {drops_by: 20%, against: 14d}}", "known after 14 d: "),
        ("funnels", "{conversion: {drops_by: 20%, against: 14d}}", ""),
        ("websites", "{recordings: {below_usual: 50%}}", ""),
    ],
)
def test_a_note_says_what_the_bot_must_first_see_itself(watch, when, said):
    text = RULE.format(when=when, more="over_last: 7d", do="{slack: {}}", watch=watch)
    notes = read([("a.yaml", text.encode())]).notes
    assert [note.lint for note in notes] == ["learns"] * bool(said)
    assert not said or notes[0].message.startswith(said)


@pytest.mark.parametrize(
    ("when", "watch"),
    [("{pages: {min: 3}, tags: submit}", "recordings"), ("{views: {under: 3}}", "pages")],
)
def test_a_rule_that_need_not_wait_has_no_note(when, watch):
    do = "{star: true}" if watch == "recordings" else "{slack: {}}"
    text = RULE.format(when=when, more="summary: x", do=do, watch=watch)
    assert read([("a.yaml", text.encode())]).notes == ()


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://receiver.example/x", True),
        ("HTTP://169.254.169.254/x", True),
        ("http://10.0.0.7:8080/x", True),
        ("https://receiver.example/x", False),
        ("http://localhost:9000/x", False),
        ("http://127.0.0.1/x", False),
        ("http://[::1]:80/x", False),
    ],
)
def test_a_webhook_without_encryption_is_warned_about(url, warns):
    one = warned("{device: phone}", do=f"{{webhook: {{url: '{url}'}}}}")
    several = warned("{device: phone}", do=f"{{webhook: [{{url: '{url}'}}]}}")
    assert one == several == ["webhook-http"] * warns


@pytest.mark.parametrize(
    "when",
    [
        "{referrer: '*google.com*', entry_url: 'https://*'}",
        "{referrer: 'android-app://com.google*', entry_url: '*/basket*'}",
        "{screen: 1920x1080, lang: en-us}",
        "{screen: 1920X1080, lang: [de, en_GB, 'pt*', 'zh-Hant-TW']}",
        "{screen: '*x1080', country: de}",
    ],
)
def test_values_in_the_shape_of_their_field_are_left_alone(when):
    assert warned(when) == []


@pytest.mark.parametrize(
    ("when", "meant"),
    [
        ("{referrer: google.com}", '"*google.com*"'),
        ("{referrer: google.*}", '"*google.*"'),
        ("{entry_url: /basket}", '"*/basket*"'),
        ("{screen: '1920 x 1080'}", "write 1920x1080"),
        ("{screen: large}", "such as 1280x800"),
        ("{lang: Danish}", '"da*"'),
        ("{country: en}", "write gb or us"),
        ("{country: uk}", "write gb"),
    ],
)
def test_a_value_in_another_shape_is_warned_about_with_what_to_write(when, meant):
    text = RULE.format(when=when, more="summary: x", do="{star: true}", watch="recordings")
    (fault,) = read([("a.yaml", text.encode())]).warnings
    assert fault.lint == "unusual-value"
    assert meant in fault.message

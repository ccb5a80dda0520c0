"""Texts that rule authors write: what they can say, and what is refused before it is used."""

import msgspec
import pytest
from msgspec.structs import replace

from bot.domain.subjects import Band
from bot.fields.catalogue import KINDS, text_fields
from bot.messages.template_check import SAMPLES, check_text
from bot.messages.template_variables import COMMON, LINKS
from bot.messages.templates import BadText, names_used, render
from bot.ports import Addresses

APP = Addresses(share_url="https://share.example/{token}")
TASK = SAMPLES["recordings"]


def shown(text, kind="recordings"):
    assert check_text(text, kind) == []
    task = replace(SAMPLES[kind], runbook="https://wiki.example/checkout", owner="Shop team")
    return render(text, task, APP)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ rule }}: {{ summary }}", "sample-rule: A sample"),
        ("*{{ website }}* :fire: <!here>", "*myshop.com* :fire: <!here>"),
        ("{{ duration }} on {{ pages }} pages", "1 min 35 s on 2 pages"),
        ("{{ duration // 1000 }} s", "95 s"),
        ("{{ friction }}", "2.5 to 5"),
        ("{{ friction | round(1) }}", "2.5"),
        ("{% if friction >= 2.5 and duration > 60000 %}bad{% else %}fine{% endif %}", "bad"),
        ("{{ saw | join(' then ') }}", "/cart then /checkout/pay"),
        ("{{ saw | first }} {{ saw | last }} {{ saw | length }}", "/cart /checkout/pay 2"),
        ("{{ saw[1] }} {{ saw[7] }}", "/checkout/pay –"),
        (
            "{% for v in page_views %}{{ loop.index }} {{ v.path }} {{ v.time }};{% endfor %}",
            "1 /cart 30 s;2 /checkout/pay 1 min 5 s;",
        ),
        ("{{ variables['cart-value'] }} {{ variables.other }} {{ variables.items }}", "120 – –"),
        ("{{ entry_url }}", "https://myshop.com/cart"),
        ("{{ entry_url | path }}", "/cart"),
        ("{{ country | upper }} {{ city | default('?') }}", "DE Berlin"),
        ("{{ 'yes' if starred else 'no' }} {{ starred }}", "no no"),
        ("{{ 95000 | duration }} {{ 1234567 | number }}", "1 min 35 s 1,234,567"),
        ("{{ 'abcdef' | truncate(4) }}", "abc…"),
        (
            "<{{ url }}|{{ entry_page }}>",
            "<https://app.mouseflow.com/websites/w1/recordings/r1/play|/cart>",
        ),
        ("{{ link }}", "<https://app.mouseflow.com/websites/w1/recordings/r1/play|recording>"),
        ("<{{ share_url }}|public>", "<https://share.example/T0KEN|public>"),
        ("{{ tags | sort | unique | join }}", "click-rage"),
        ("a\n{% if pages > 1 %}\nb\n{% endif %}\nc", "a\nb\nc"),
        ("5 < 6: {{ country }}", "5 < 6: de"),
    ],
)
def test_a_text_says_what_its_author_means(text, expected):
    assert shown(text) == expected


def test_what_is_missing_prints_a_dash():
    recording = msgspec.structs.replace(TASK.subject.recording, city=None, duration=None)
    task = replace(TASK, subject=msgspec.structs.replace(TASK.subject, recording=recording))
    assert render("{{ city }} {{ duration }}", task, APP) == "– –"


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_every_kind_can_be_used(kind):
    for name, field in text_fields(kind).items():
        assert shown(f"{{{{ {name} }}}}", kind) not in ("", "–")
        for part in (it for it in field.parts if it.in_texts):
            each = f"{{% for x in {name} %}}{{{{ x.{part.text_name} }}}}{{% endfor %}}"
            assert shown(each, kind)
    for name in COMMON:
        assert shown(f"{{{{ {name} }}}}", kind) != ""
    for name in LINKS.get(kind, ()):
        assert shown(f"<{{{{ {name} }}}}|x>" if name != "link" else "{{ link }}", kind) != "x"


@pytest.mark.parametrize("name", ["range", "lipsum", "dict", "cycler", "namespace"])
def test_even_unchecked_a_text_has_nothing_to_call(name):
    with pytest.raises(BadText):
        render(f"{{{{ {name} }}}}", TASK, APP)


def test_a_link_without_an_address_keeps_its_words():
    assert render("see <{{ share_url }}|the *replay*>", TASK, Addresses()) == "see the *replay*"


def test_a_subject_without_an_address_has_no_name_for_one():
    assert "unknown name url" in check_text("{{ url }}", "websites")[0].message


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("hello\n  {{ frction }}", 2, 6, "did you mean friction?"),
        ("{{ campaign }}", 1, 4, "unknown name campaign"),
        ("{% for v in page_views %}{{ v.pth }}{% endfor %}", 1, 31, "did you mean path?"),
        ("{{ country.upper }}", 1, 12, "country has no part upper"),
        ("{{ country | center(90000) }}", 1, 14, "unknown filter center"),
        ("{{ range(10) }}", 1, 4, "functions cannot be called"),
        ("{{ country.upper() }}", 1, 12, "use a filter: country | upper"),
        ("{% set a = 1 %}", 1, 4, "unknown {% set %}"),
        ("{% macro m() %}{% endmacro %}", 1, 4, "unknown {% macro %}"),
        ("{% include 'x' %}", 1, 4, "unknown {% include %}"),
        ("{{ 2 ** 99 }}", 1, 1, "** cannot be used"),
        ("{{ '%9999d' % 3 }}", 1, 1, "% cannot be used"),
        ("{{ 'a' * 99 }}", 1, 1, "* needs numbers on both sides"),
        ("{{ ''.__class__ }}", 1, 7, "has no part __class__"),
        ("{% for x in saw recursive %}{{ x }}{% endfor %}", 1, 17, "recursive"),
        ("{% for x in [1, 2] %}{{ x }}{% endfor %}", 1, 4, "one of the names that are lists"),
        ("<{{ referrer }}|x>", 1, 5, "between < and > only"),
        ("<https://x.example/{{ id }}>", 1, 23, "between < and > only"),
        ("<{{ url | upper }}>", 1, 2, "between < and > only"),
        ("\n\n{{ duration", 3, 1, "{{ is not closed"),
        ("  ", 1, 1, "the text is empty"),
        ("a" * 3001, 1, 1, "at most 3000"),
        ("{{ 1 / 0 }}", 1, 1, "division by zero"),
        ("{{ rule is weird }}", 1, 12, "unknown test weird"),
    ],
)
def test_what_is_wrong_is_found_on_loading_and_where(text, line, column, message):
    fault, *_ = check_text(text, "recordings")
    assert (fault.line, fault.column) == (line, column)
    assert message in fault.message


def test_three_loops_within_each_other_are_too_many():
    loop = "{{% for {0} in saw %}}".format
    text = loop("a") + loop("b") + loop("c") + "x" + "{% endfor %}" * 3
    assert "2 loops" in check_text(text, "recordings")[0].message


def test_all_faults_are_told_at_once():
    faults = check_text("{{ one }}\n{{ two }}{{ x() }}", "recordings")
    assert [fault.line for fault in faults] == [1, 2, 2]


def test_a_text_that_prints_without_end_is_cut():
    text = "{% for a in saw %}{% for b in saw %}{{ page_views }}{% endfor %}{% endfor %}"
    views = TASK.subject.recording.page_views * 100
    recording = msgspec.structs.replace(TASK.subject.recording, page_views=views)
    task = replace(TASK, subject=msgspec.structs.replace(TASK.subject, recording=recording))
    assert check_text(text, "recordings") == []
    assert len(render(text, task, APP)) <= 2900


def test_a_text_that_meets_unforeseen_data_says_so_without_showing_it():
    recording = msgspec.structs.replace(TASK.subject.recording, duration=None)
    task = replace(TASK, subject=msgspec.structs.replace(TASK.subject, recording=recording))
    with pytest.raises(BadText):
        render("{{ duration / 1000 }}", task, APP)


def test_the_names_that_a_text_uses_are_known_for_the_lint_on_personal_data():
    used = names_used(
        "{{ ip }} {% for v in page_views %}{{ v.path }}{{ visitor_name }}{% endfor %}"
    )
    assert used == {"ip", "page_views", "visitor_name"}
    known = text_fields("recordings")
    assert {name for name in used if known[name].personal} == {"ip", "visitor_name"}
    assert names_used("{{ broken") == set()


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        (Band.exactly(3.25), "3.25"),
        (Band(2.5), "2.5 or more"),
        (Band(high=2.5), "below 2.5"),
        (Band(2.5, 5), "2.5 to 5"),
        (Band(), "unknown"),
    ],
)
def test_friction_is_said_as_far_as_it_is_known(band, expected):
    subject = msgspec.structs.replace(TASK.subject, friction=band)
    assert render("{{ friction }}", replace(TASK, subject=subject), APP) == expected

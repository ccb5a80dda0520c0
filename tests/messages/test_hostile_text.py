"""Whatever visitors write: no ping, no link, no broken entity, never beyond Slack's limits."""

import html
import re
from datetime import UTC, datetime, timedelta
from functools import reduce

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.many import NOWHERE, Many
from bot.domain.subjects import (
    CampaignSubject,
    FormField,
    FormSubject,
    FunnelStep,
    FunnelSubject,
    PageSubject,
    RecordingSubject,
    Site,
    WebsiteSubject,
)
from bot.fields.catalogue import KINDS, text_fields
from bot.messages import compose, several
from bot.messages import message as messages
from bot.messages.blocks import blocks, notification
from bot.messages.pages import glimpse, spread_with
from bot.messages.template_check import SAMPLES
from bot.messages.templates import BadText, render
from bot.messages.text import clean, cut_mrkdwn, mrkdwn, size
from bot.ports import Addresses
from mouseflow.models import PageView, Recording

SEEDS = st.sampled_from(
    [
        "<!channel>",
        "<!here|here>",
        "<@U123>",
        "<#C1|x>",
        "<https://evil.example|Mouseflow>",
        "!channel",
        ":rotating_light::white_check_mark:",
        "@here",
        "&amp;lt;!channel&gt;",
        "&",
        "\u202egnp.exe",
        "\u200b",
        "a\r\n> quote",
        "*bold* _it_ ~no~ `code` ```",
        "😀" * 60,
        "\ud800",
        "|",
        "\x00\x1b[31m",
        "{{ ip }}",
    ]
)
SHORT = st.lists(SEEDS | st.text(max_size=10), max_size=3).map("".join)
HOSTILE = SHORT | SHORT.map(lambda text: text * 90)
# Long lists repeat what a short one has: their length matters, not their variety.
LISTS = st.lists(HOSTILE, max_size=3).map(lambda texts: tuple(texts) * 20)
MAYBE = st.none() | HOSTILE
NUMBER = st.none() | st.integers(min_value=0, max_value=10**12)
APP = Addresses(share_url="https://share.example/{token}")
QUICK = settings(max_examples=60, deadline=None, derandomize=True)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

VIEWS = st.builds(
    PageView, title=MAYBE, uri=MAYBE, website_page=MAYBE, visit_time=NUMBER, tags=LISTS
)
TEXTS = (
    *("country", "city", "region", "isp", "ip", "lang", "user_agent", "browser", "os"),
    *("browser_version", "os_version", "device", "referrer", "referrer_type", "screen_res"),
    *("entry", "entry_page", "visitor_id", "visitor_name"),
)
RECORDINGS = st.builds(
    Recording,
    id=HOSTILE.filter(bool),
    duration=NUMBER,
    pages=NUMBER,
    tags=LISTS,
    variables=LISTS,
    created=st.just(NOON),
    page_views=st.none() | st.lists(VIEWS, max_size=2).map(lambda views: tuple(views) * 30),
    **dict.fromkeys(TEXTS, MAYBE),
)
SITES = st.builds(Site, id=HOSTILE.filter(bool), name=HOSTILE)
SUBJECTS = (
    st.builds(RecordingSubject, website=SITES, recording=RECORDINGS),
    st.builds(CampaignSubject, website=SITES, id=HOSTILE, name=HOSTILE, responses=NUMBER),
    st.builds(
        FunnelSubject,
        website=SITES,
        id=HOSTILE,
        name=HOSTILE,
        steps=st.lists(
            st.builds(
                FunnelStep, name=HOSTILE, url=HOSTILE, count=st.integers(min_value=0, max_value=99)
            ),
            max_size=2,
        ).map(lambda steps: tuple(steps) * 30),
    ),
    st.builds(
        FormSubject,
        website=SITES,
        id=HOSTILE,
        name=HOSTILE,
        url=HOSTILE,
        visits=NUMBER,
        fields=st.lists(st.builds(FormField, name=HOSTILE, dropped=NUMBER), max_size=2).map(
            lambda fields: tuple(fields) * 30
        ),
    ),
    st.builds(PageSubject, website=SITES, path=HOSTILE, title=HOSTILE, views=NUMBER),
    st.builds(WebsiteSubject, website=SITES, status=MAYBE),
)
OF_KIND = dict(zip(KINDS, SUBJECTS, strict=True))


def tasks(subjects):
    """Tasks about such subjects, hostile all over."""
    return st.builds(
        lambda subject, summary, why, token: replace(
            SAMPLES["recordings"],
            subject=subject,
            summary=summary,
            why=why,
            results={"share": token} if token else {},
        ),
        subjects,
        HOSTILE,
        LISTS,
        HOSTILE,
    )


TASKS = tasks(st.one_of(*SUBJECTS))

OURS = re.compile(
    r"<https://app\.mouseflow\.com/websites/[^<>|\s]+(?:\|([^<>|]*))?>"
    r"|<!date\^[0-9]+\^[{}a-z_ ]+\|[0-9A-Za-z :+-]+>"
)
BARE = re.compile(r"&(?!(?:amp|lt|gt);)")


def texts(block):
    """Every (type, text) inside a block."""
    if isinstance(block, dict):
        if block.get("type") in ("mrkdwn", "plain_text"):
            yield block["type"], block["text"], block.get("verbatim")
        for value in block.values():
            yield from texts(value)
    elif isinstance(block, list | tuple):
        for value in block:
            yield from texts(value)


def assert_harmless(text):
    rest = OURS.sub(r"\1", text)
    assert "<" not in rest, text
    assert ">" not in rest, text
    assert not BARE.search(rest), text
    assert not set("\u202a\u202b\u202d\u202e\u2066\u2067\u200b\x00\x1b") & set(rest)
    text.encode()


def assert_fits(message):
    sent = blocks(message)
    assert 0 < len(sent) <= 7
    assert size(html.unescape(notification(message))) <= (3000 if message.own else 151)
    for block in sent:
        if block["type"] == "section":
            assert 1 <= len(block.get("fields", "x")) <= 10
            for field in block.get("fields", ()):
                assert size(field["text"]) <= 2000
        if block["type"] == "context":
            assert 1 <= len(block["elements"]) <= 10
        if block["type"] == "actions":
            for element in block["elements"]:
                assert size(element["url"]) <= 3000
                assert size(element["text"]["text"]) <= 75
    for kind, text, verbatim in texts(blocks(message)):
        assert 1 <= size(text) <= 3000
        assert kind == "plain_text" or verbatim is True


def assert_safe(message):
    assert_fits(message)
    assert messages.reread(messages.kept(message)) == message
    assert_harmless(notification(message))
    for kind, text, _ in texts(blocks(message)):
        if kind == "mrkdwn":
            assert_harmless(text)


@QUICK
@given(TASKS)
def test_a_built_in_message_is_harmless_and_fits(task):
    assert_safe(compose.match(task, APP))


@QUICK
@given(TASKS, st.dictionaries(HOSTILE, st.integers(min_value=1, max_value=10**9), max_size=9))
def test_digests_ends_and_notices_are_harmless_and_fit(task, reasons):
    worst = [task.subject] * 12
    assert_safe(compose.resolved(task, APP, timedelta(hours=1)))
    assert_safe(compose.notice(task.summary, task.why, "", task.now, "UTC"))
    spread = reduce(spread_with, worst, NOWHERE)
    assert_safe(
        several.digest(
            task, APP, total=99, reasons=reasons, since=task.matched, worst=worst, spread=spread
        )
    )
    few = tuple(map(glimpse, worst))
    many = Many(asked=3, within=timedelta(minutes=9), total=99, since=NOON, until=task.matched,
                spread=spread, worst=few)  # fmt: skip
    assert_safe(compose.match(replace(task, many=many), APP))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_text_that_prints_every_name_is_harmless(kind, data):
    task = data.draw(tasks(OF_KIND[kind]))
    text = " ".join(f"{{{{ {name} }}}}" for name in text_fields(kind)) + "{{ website }}{{ why }}"
    assert_harmless(render(text, task, APP))


@pytest.mark.parametrize("value", ["!channel", "@U1", "!subteam^S1", "#C1"])
def test_a_value_right_behind_a_bare_bracket_is_no_mention(value):
    subject = SAMPLES["recordings"].subject
    recording = msgspec.structs.replace(subject.recording, visitor_name=value)
    task = replace(
        SAMPLES["recordings"], subject=msgspec.structs.replace(subject, recording=recording)
    )
    assert not re.search(r"<[!@#]", render("<{{ visitor_name }}>", task, APP))


@QUICK
@given(HOSTILE, st.integers(min_value=1, max_value=200))
def test_text_is_cut_before_it_is_escaped(text, limit):
    assert size(clean(text, limit)) <= limit
    assert_harmless(mrkdwn(text, limit))


@QUICK
@given(st.lists(HOSTILE.map(mrkdwn) | st.just("<https://app.mouseflow.com/websites/1/play|w>")))
def test_mrkdwn_is_cut_between_entities_and_links(parts):
    for limit in (1, 7, 30, 100):
        shown = cut_mrkdwn(" ".join(parts), limit)
        assert size(shown) <= limit
        assert_harmless(shown)


def test_a_visitor_can_put_no_emoji_into_a_message_and_an_author_can():
    assert mrkdwn("/:fire::no_entry:/x") == "/∶fire:∶no_entry:/x"
    assert mrkdwn("/:+1:/:100:") == "/∶+1:/∶100:"
    assert mrkdwn("from 12:100:30 to 12:30:45") == "from 12:100:30 to 12:30:45"
    assert mrkdwn("12:30:45, a: b") == "12:30:45, a: b"
    assert mrkdwn(":fire: Checkout", emoji=True) == ":fire: Checkout"


def test_formatting_marks_of_a_visitor_are_inert_and_plain_words_stay():
    assert mrkdwn("*a* ~b~ `c` _d_ snake_case") == "∗a∗ ∼b∼ ˋcˋ ˍdˍ snake_case"
    assert mrkdwn("R&D <b>") == "R&amp;D &lt;b&gt;"


@QUICK
@given(st.sampled_from(["{{ visitor_name }}", "{{ tags|join(', ') }}", "{{ why|first }}"]), TASKS)
def test_a_visitors_text_is_never_read_as_a_template(text, task):
    try:
        shown = render(text, task, APP)
    except BadText:
        return
    assert "192.0.2.7" not in shown

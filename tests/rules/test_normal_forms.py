"""Two spellings of one text are one text: paths, addresses, places, names, tags, languages."""

from unicodedata import normalize
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.subjects import RecordingSubject, Site
from bot.fields.normal import folded, folded_path, page, path
from bot.rules import model as c
from bot.rules.evaluate import RuleList
from bot.rules.index import RuleIndex
from bot.rules.model import Rule, names_site
from bot.rules.operators.texts import OneOf, Pattern
from mouseflow.models import PageView, Recording

SITE = Site("w1", "Caf\u00e9")
many = settings(max_examples=300, deadline=None)
paths = st.text(
    st.sampled_from("/%?#*aZæÆéı I\u0130.:@2fFC3\u0301\u00a0\u202e\n\ud83d😀"), max_size=24
).map(lambda text: f"/{text}")


def matching(test, **recording):
    """The answers of the index and of the tree walk."""
    rule = Rule(id="r", watch="recordings", when=test, do=())
    subject = RecordingSubject(website=SITE, recording=Recording(id="r1", **recording))
    found = [bool(group([rule]).sure(subject)) for group in (RuleIndex, RuleList)]
    assert found[0] is found[1]
    return found[0]


@pytest.mark.parametrize("pattern", ["/sæder/*", "/s%C3%A6der/*", "/S%c3%86DER/*", "/SÆDER/*"])
@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        ("/s%C3%A6der/l%C3%A6der", True),
        ("/s%c3%a6der/gel", True),
        ("/sæder/stof", True),
        ("https://shop.my:8443/s%C3%A6der/stof?x=1", True),
        ("/s%C3%A6der%2Fx", False),
        ("/100%", False),
    ],
)
def test_a_page_is_found_in_either_spelling(pattern, visit, expected):
    seen = c.Test("saw_page", OneOf((pattern,)))
    item = c.OneItem("page", (c.Test("path", OneOf((pattern,))),))
    views = (PageView(uri=visit),)
    assert matching(seen, entry_page=visit, pages=1) is expected
    assert matching(seen, page_views=views) is expected
    assert matching(item, page_views=views) is expected
    assert matching(c.Journey((pattern,)), page_views=views) is expected
    assert matching(c.Test("entry_page", OneOf((pattern,))), entry=visit) is expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/search results", "/search%20results"),
        ("/caf\u00e9", "/cafe\u0301"),
        ("/caf%C3%A9", "/cafe%CC%81"),
        ("/caf%c3%a9", "/CAF\u00c9"),
        ("/100%", "/100%"),
        ("/a%2fb", "/a%2Fb"),
        ("/a\u00a0b", "/a%C2%A0b"),
        ("shop.my:8443/cart", "/cart"),
        ("localhost:3000/cart", "/cart"),
        ("localhost/cart", "/cart"),
        ("shop.my./cart", "/cart"),
        ("[::1]:80/cart", "/cart"),
        ("checkout:80/cart", "/cart"),
        ("checkout/cart", "/checkout/cart"),
        ("/out/https://x.example/y", "https://shop.my/out/https://x.example/y"),
        ("shop.my/out/https://x.example/y", "/out/https://x.example/y"),
    ],
)
def test_one_page_in_two_spellings(one, other):
    assert folded_path(one) == folded_path(other)
    assert matching(c.Test("saw_page", OneOf((one,))), page_views=(PageView(uri=other),))
    assert matching(c.Test("saw_page", OneOf((other,))), page_views=(PageView(uri=one),))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a%2Fb", "/a/b"),
        ("/a%3Fb", "/a?b"),
        ("/a%23b", "/a#b"),
        ("/a%2525", "/a%25"),
        ("/100%25", "/100%"),
    ],
)
def test_no_path_gains_or_loses_a_part(one, other):
    assert folded_path(one) != folded_path(other)


@pytest.mark.parametrize("broken", ["/100%", "/%", "/%zz", "/%C3", "/%C3%A6%C3", "/%ED%A0%BD"])
def test_a_broken_escape_is_left_alone(broken):
    assert folded_path(path(broken)) == folded_path(broken)
    assert matching(c.Test("saw_page", OneOf((broken,))), page_views=(PageView(uri=broken),))


def test_what_cannot_be_printed_stays_encoded():
    assert page("/a%0Ab%E2%80%AEc\u202ed\n") == "/a%0Ab%E2%80%AEc%E2%80%AEd"


@many
@given(paths)
def test_the_normal_form_is_its_own(text):
    assert path(path(text)) == path(text)
    assert folded_path(folded_path(text)) == folded_path(text) == folded_path(path(text))
    assert folded(folded(text)) == folded(text)
    assert path(text).isprintable()


@many
@given(
    st.text(st.sampled_from("aZæÆé I.:@,;()&=+é😀語"), max_size=12), st.sampled_from(["NFC", "NFD"])
)
def test_a_browser_and_a_person_write_one_page(text, form):
    typed = f"/{text}"
    for sent in (
        typed,
        quote(typed, safe="/"),
        quote(typed).lower(),
        f"https://s.my{quote(typed)}",
    ):
        sent = normalize(form, sent)
        assert folded_path(sent) == folded_path(typed)
        assert matching(c.Test("saw_page", OneOf((typed,))), page_views=(PageView(uri=sent),))


@pytest.mark.parametrize(
    ("field", "attribute", "one", "other"),
    [
        ("city", "city", "istanbul", "\u0130stanbul"),
        ("city", "city", "DIYARBAKIR", "Diyarbak\u0131r"),
        ("city", "city", "K\u00f6ln", "Ko\u0308ln"),
        ("region", "region", "\u00celes", "i\u0302les"),
        ("entry_url", "entry", "https://s.my/?q=s\u00e6d*", "https://s.my/?q=s%C3%A6der"),
        ("entry_url", "entry", "*caf\u00e9*", "https://s.my/caf%c3%a9?x"),
        ("referrer", "referrer", "*s%C3%A6der*", "https://x.my/sæder"),
        ("lang", "lang", "en_US", "en-us"),
        ("lang", "lang", "en-US", "en_US"),
        ("visitor_name", "visitor_name", "Ren\u00e9", "Rene\u0301"),
    ],
)
def test_a_text_is_found_in_either_spelling(field, attribute, one, other):
    assert matching(c.Test(field, OneOf((one,))), **{attribute: other})


def test_an_address_keeps_what_separates_its_parts_encoded():
    test = c.Test("entry_url", OneOf(("*?q=a&b=*",)))
    assert matching(test, entry="https://s.my/?q=a&b=1")
    assert not matching(test, entry="https://s.my/?q=a%26b=1")


def test_tags_variables_and_websites_are_found_in_either_spelling():
    assert matching(c.Test("tags", OneOf(("caf\u00e9",))), tags=("cafe\u0301",), page_views=())
    assert matching(
        c.Test("variables", OneOf(("r\u00e9gime",)), "\u00c9tat"),
        variables=("e\u0301tat=Re\u0301gime",),
    )
    assert names_site(("cafe\u0301",), SITE)
    assert names_site(("CAF\u00c9*",), SITE)


def test_an_expression_is_searched_in_the_decoded_path():
    test = c.Test("saw_page", Pattern("^/sæder/"))
    assert matching(test, page_views=(PageView(uri="/s%C3%A6der/stof"),))

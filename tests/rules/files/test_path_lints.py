"""`check` judges a path as the daemon compares it, and what it proposes can be written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.subjects import RecordingSubject, Site
from bot.rules.evaluate import rule_answer
from bot.rules.files.load import RuleErrors, read
from mouseflow.models import PageView, Recording

SITE = Site("w1", "lund-cykler.example")


def load(when, watch="recordings"):
    do = "star: true" if watch == "recordings" else "slack: {}"
    rule = f"{{watch: {watch}, when: {when}, do: {{{do}}}}}"
    return read([("a.yaml", f"version: 1\nrules:\n  one: {rule}\n".encode())])


def warned(when, watch="recordings"):
    return [(it.lint, it.message) for it in load(when, watch).warnings]


def faults(when, watch="recordings"):
    with pytest.raises(RuleErrors) as raised:
        load(when, watch)
    return [it.message for it in raised.value.faults]


def visit(*addresses):
    views = tuple(PageView(uri=address) for address in addresses)
    return RecordingSubject(website=SITE, recording=Recording(id="r1", page_views=views))


def matches(when, *addresses):
    return rule_answer(load(when).rules[0], visit(*addresses))


BASKET = "https://lund-cykler.example/basket"


@pytest.mark.parametrize(
    "written", ["lund-cykler.example/basket", BASKET, "lund-cykler.example:443/basket"]
)
@pytest.mark.parametrize("field", ["saw_page", "journey", "entry_page", "exit_page"])
def test_a_host_is_not_compared_and_check_says_so(field, written):
    when = f'{{{field}: "{written}"}}'
    assert matches(when, BASKET)
    ((lint, message),) = warned(when)
    assert lint == "path-host"
    assert "write /basket" in message
    assert "websites" in message


@pytest.mark.parametrize(
    "written", ["basket", "/basket", "/BASKET/", "*basket", "index.html", "*.html"]
)
def test_a_path_that_is_compared_as_written_is_left_alone(written):
    assert warned(f'{{saw_page: "{written}"}}') == []


@pytest.mark.parametrize(
    ("when", "meant"),
    [
        ('{entry_page: "*utm_campaign=*"}', 'write {entry_url: "*utm_campaign=*"}'),
        ("{saw_page: step=2}", 'write {page: {query: "step=2"}}'),
        ('{page: {path: "*step=2*"}}', 'write {page: {query: "*step=2*"}}'),
    ],
)
def test_a_parameter_of_an_address_is_no_path(when, meant):
    ((lint, message),) = warned(when)
    assert lint == "path-query"
    assert message == f"a path has no query; {meant}"
    assert warned('{saw_page: "/size=2"}') == warned('{saw_page: "*/a=b"}') == []


def test_a_path_without_a_slash_is_a_path():
    assert matches("{saw_page: basket}", BASKET)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("*.myshop.com/cart", "/cart"),
        ("*.lund-cykler.example/*", "/*"),
        ("*myshop.com/cart*", "/cart*"),
        ("*://myshop.com/cart", "/cart"),
    ],
)
def test_a_pattern_for_a_host_is_found(written, meant):
    ((lint, message),) = warned(f'{{saw_page: "{written}"}}')
    assert lint == "path-host"
    assert f"write {meant}" in message
    assert "websites" in message
    assert "entry_url" in message


@pytest.mark.parametrize(
    ("when", "proposed"),
    [
        ("{saw_page: '*?coupon=*'}", '{page: {query: "coupon=*"}}'),
        ("{saw_page: /search?q=*}", '{page: {path: "/search", query: "q=*"}}'),
        ("{saw_page: [/a, '/b#top']}", '{page: {path: "/b", fragment: "top"}}'),
        ("{saw_page: '/b?x=1#top'}", '{page: {path: "/b", query: "x=1", fragment: "top"}}'),
        ("{saw_page: {not: '/b?x=1'}}", '{page: {path: "/b", query: "x=1"}}'),
        ("{page: {path: '/search?q=*'}}", '{page: {path: "/search", query: "q=*"}}'),
        ("{journey: [/a, '/search?q=*']}", '{page: {path: "/search", query: "q=*"}}'),
        ("{entry_page: '/search?q=*'}", '{entry_url: "*/search?q=*"}'),
        ("{exit_page: '/search?q=*'}", "write /search"),
        ("{saw_page: '^/a/?$'}", "{matches: '^/a/?$'}"),
    ],
)
def test_a_path_with_a_query_or_fragment_is_an_error_with_a_proposal(when, proposed):
    (message,) = faults(when)
    assert proposed in message
    if proposed.startswith(("{page", "{entry")):
        assert warned(proposed) == []


def test_a_query_is_an_error_in_the_paths_of_other_subjects_too():
    assert "/a" in faults("{path: '/a?b'}", "pages")[0]
    assert "/a" in faults("{url: '/a?b'}", "forms")[0]


def test_the_query_the_fragment_and_the_host_of_one_page_can_be_asked_for():
    seen = ("https://Shop.my:8443/search?q=S%C3%A6d&page=2#Top", "https://blog.my./a?q=x")
    assert matches("{page: {path: /search, query: '*q=sæd*'}}", *seen)
    assert matches("{page: {query: '*page=2*', fragment: top, host: shop.my}}", *seen)
    assert matches("{page: {host: blog.my, fragment: {exists: false}}}", *seen)
    assert not matches("{page: {path: /search, query: q=x}}", *seen)
    assert not matches("{page: {host: blog.my, fragment: top}}", *seen)
    assert not matches("{page: {query: {not: '*q=*'}}}", "/a", "/b#c")


def test_a_rules_own_tests_give_them():
    text = """version: 1
rules:
  one:
    watch: recordings
    when: {page: {path: /search, query: q=shoes}}
    do: {star: true}
    tests:
      - {given: {pages: ["/search?q=shoes"]}, expect: match}
      - {given: {pages: [{path: /search, query: q=shoes}]}, expect: match}
      - {given: {pages: [{path: /search, query: q=shirts}]}, expect: no match}
      - {given: {pages: [{path: /search, fragment: "q=shoes"}]}, expect: no match}
      - {given: {pages: [{query: q=shoes, host: shop.my, path: /search}]}, expect: match}
"""
    assert read([("a.yaml", text.encode())]).warnings == ()


def test_a_query_that_no_page_can_have_is_an_error_in_a_rules_test():
    text = """version: 1
rules:
  one:
    watch: recordings
    when: {page: {query: q=shoes}}
    do: {star: true}
    tests: [{given: {pages: [{query: "a#b"}]}, expect: no match}]
"""
    with pytest.raises(RuleErrors):
        read([("a.yaml", text.encode())])


@pytest.mark.parametrize(
    ("regex", "finds"),
    [
        (r"^/cart\?step=2", "query"),
        (r"/cart[?]step", "query"),
        (r"^/cart#top", "query"),
        (r"^https?://shop.my/cart", "host"),
        (r"s%C3%A6der", "decoded"),
    ],
)
def test_an_expression_for_what_no_path_has_is_found(regex, finds):
    ((lint, message),) = warned(f"{{saw_page: {{matches: '{regex}'}}}}")
    assert lint == "path-query"
    assert finds in message


@pytest.mark.parametrize("regex", ["^/colou?r", "^/a%2Fb", "^/(?:a|b)/", "/100%"])
def test_an_expression_for_a_path_is_left_alone(regex):
    assert warned(f"{{saw_page: {{matches: '{regex}'}}}}") == []


def test_half_a_character_is_found():
    ((lint, message),) = warned("{saw_page: '/s%C3*'}")
    assert lint == "compared-as-text"
    assert "%C3" in message


pieces = st.lists(
    st.sampled_from(
        ["/", "*", "cart", "sæder", "s%C3%A6der", ".", "shop.my", "https://", ":80", "%2F", "%C3"]
    ),
    min_size=1,
    max_size=6,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(pieces, st.lists(pieces, min_size=1, max_size=4))
def test_a_proposed_path_needs_no_warning_and_matches_as_much(pattern, addresses):
    seen = [f"https://shop.my/{address}" for address in addresses]
    when = f'{{saw_page: "{pattern}"}}'
    for lint, message in warned(when):
        assert lint in ("path-host", "compared-as-text")
        if lint == "path-host":
            proposed = f'{{saw_page: "{message.rpartition("write ")[2]}"}}'
            assert not [it for it, _ in warned(proposed) if it == "path-host"]
            assert matches(proposed, *seen) or not matches(when, *seen)

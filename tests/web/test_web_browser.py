"""A real browser walks the pages of the real daemon."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from daemon_world import RULE, Daemon
from playwright.sync_api import sync_playwright
from shop_group import CHROMIUM, ERRORS, NAMES, host_of, log_in, pages

from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

TOKEN = "a-token-of-the-page"
RULES = (
    RULE
    + """
  old-rule:
    summary: What nobody needs now
    disabled: true
    watch: recordings
    when: {saw_page: /old}
    do: {slack: {channel: "#checkout-alerts"}}
  nobody-pays:
    watch: recordings
    when: {saw_page: /thanks}
    count: {at_most: 0, within: 2h}
    do: {slack: {channel: "#checkout-alerts"}}
  counted:
    watch: recordings
    when: {friction: {min: 1}}
    count: {at_least: 2, within: 10h}
    do: {slack: {channel: "#checkout-alerts"}}
reports:
  weekly: {at: mon 09:00, do: {slack: {channel: "#checkout-alerts"}}}
budgets:
  monthly-credits:
    summary: Plan credits
    websites: ["*"]
    recordings: 60000
    period: month
    steps: {80%: {slack: {channel: "#ops"}}, 100%: {recording: stop}}
"""
)
PAGES = ("/", "/rules", "/rules/checkout-friction", "/rules/nobody-pays", "/reports", "/budgets",
         "/activity", "/queue")  # fmt: skip
ALL, COLOURS = {}, {"runOnly": ["color-contrast"]}
LOOKS = {(390, "light"): ALL, (390, "dark"): COLOURS, (1280, "light"): COLOURS, (1280, "dark"): ALL}
"""What axe-core checks in each look: the others bring no other markup."""
HEAVIEST = 100_000
"""Bytes of HTML, style and script that a page may have."""

WEIGHT = """() => ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))
    .reduce((sum, it) => sum + it.decodedBodySize, 0)"""
UNDRAWN = """() => [...document.querySelectorAll('use')].map(it => it.getAttribute('href'))
    .filter(it => !document.querySelector(it))"""
LISTEN = """() => {
    const stops = 'a[href], button, input:not([type=hidden]), select, summary';
    const drawn = [...document.querySelectorAll(stops)].filter(it => it.checkVisibility());
    if (!window.reached) document.addEventListener('focusin', ({target}) => {
        const {outlineStyle, outlineWidth} = getComputedStyle(target);
        reached.push(target);
        if (outlineStyle === 'none' || parseFloat(outlineWidth) < 2) ringless.push(target);
    });
    Object.assign(window, {reached: [], ringless: []});
    document.body.tabIndex = -1;
    document.body.focus();  // so that the next stop is the first one
    document.body.removeAttribute('tabindex');
    Object.assign(window, {drawn, reached: [], ringless: []});
    return drawn.length;
}"""
MISSED = """() => [drawn.filter((it, n) => it !== reached[n]), ringless]
    .map(found => found.map(it => it.outerHTML))"""
AXE = """rules => axe.run(document, {resultTypes: ['violations'], ...rules})
    .then(found => found.violations.map(it => [it.id, it.nodes[0].html]))"""

if CHROMIUM is None:
    pytest.skip("left out: no chromium here (apt-get install chromium)", allow_module_level=True)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The page of a daemon that has matched something."""
    site = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as sim:
        folder = tmp_path_factory.mktemp("browser")
        daemon = Daemon(
            folder, sim, RULES, BOT_WEB__LISTEN="127.0.0.1:0", BOT_WEB__TOKEN=TOKEN,
            BOT_POLL__REPORTS="1s",
        )  # fmt: skip
        daemon.start()
        try:
            for calm in (80, 90):
                sim.add("myshop.com", "checkout-friction", start=0.5 - calm, calm_for=calm)
            sim.wait_until(lambda: len(sim.slack.in_channel("#checkout-alerts")) >= 3)
            yield str(daemon.events("web.started")[0]["url"])
        finally:
            daemon.kill()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Seen:
    """A window, and what went wrong in it."""

    def __init__(self, browser, url, width=1280, scheme="light", **options):
        self.wrong, self.requests = [], []
        self.url = url
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, locale="en-GB",
            reduced_motion="reduce", timezone_id="UTC", **options,
        )  # fmt: skip
        self.context.on("weberror", lambda error: self.wrong.append(str(error.error)))
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    def _console(self, message):
        of_page = message.location["url"] == self.page.url and "status of" in message.text
        if message.type == "error" and not of_page:
            self.wrong.append(message.text)

    def _request(self, request):
        self.requests.append(request.url)
        if not request.url.startswith(self.url):
            self.wrong.append(request.url)

    def go(self, path):
        self.requests.clear()
        return self.page.goto(self.url + path, wait_until="load")

    def log_in(self, after="/"):
        self.go(f"/login?next={after}")
        self.page.keyboard.press("Tab")
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"**{after}")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Those of all pages of the shop group, and of bots that just start or don't run."""
    with pages(tmp_path_factory.mktemp("pages"), days=4) as found:
        yield found


@pytest.fixture(scope="module")
def hosts(browser, addresses):
    """A window for each host; somebody has logged in to the first."""
    found = {host: Seen(browser, host) for host in map(host_of, addresses.values())}
    log_in(found[host_of(addresses["overview"])].page, host_of(addresses["overview"]))
    yield found
    for seen in found.values():
        seen.context.close()


def check(seen, name):
    """The page as it is: accessible, it fits, and the keyboard reaches all of it, in each look."""
    page = seen.page
    assert page.evaluate(WEIGHT) < HEAVIEST, name
    assert len({it for it in seen.requests if "/stream" not in it}) <= 4, name
    assert page.evaluate(UNDRAWN) == [], name
    page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
    page.evaluate(Axe().axe_script)
    for (width, scheme), rules in LOOKS.items():
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert page.evaluate(AXE, rules) == [], (name, width, scheme)
        sideways = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(sideways), (name, width)
        if scheme == "light":
            assert missed_by_keyboard(page) == [[], []], (name, width)
    assert seen.wrong == [], name


def missed_by_keyboard(page):
    """What Tab doesn't reach in order, and what has no ring; tried again if the page is redrawn."""
    missed = [[], []]
    for _ in range(4):
        for _ in range(page.evaluate(LISTEN) + 4 * page.locator("input[type=date]").count()):
            page.keyboard.press("Tab")
        missed = page.evaluate(MISSED)
        if missed == [[], []]:
            break
    return missed


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_clean_accessible_and_fits(addresses, hosts, name):
    seen = hosts[host_of(addresses[name])]
    answer = seen.go(addresses[name].removeprefix(seen.url))
    assert answer.status == ERRORS.get(name, 200)
    check(seen, name)


def test_wrong_tokens_are_told_how_long_to_wait(browser, addresses):
    host = host_of(addresses["login-wrong"])
    seen = Seen(browser, host)
    told = []
    for _ in range(5):
        log_in(seen.page, host, "not the token")
        told.append(seen.page.get_by_role("alert").inner_text())
    assert told[0] == "Wrong token."
    assert "in 1 s" in told[2]
    assert "Too many attempts" in told[4]
    seen.requests.clear()
    check(seen, "login-wrong")
    seen.context.close()


def test_the_pages_of_a_daemon_are_clean(browser, url):
    seen = Seen(browser, url)
    (counted,) = (
        match
        for match in httpx.get(f"{url}/api/v1/rules/counted", timeout=60).json()["matches"]
        if match["stands_for"]
    )
    of_matches = f"/recordings/{counted['recording_id']}", f"/matches/{counted['key']}"
    for path in (*PAGES, *of_matches):
        assert seen.go(path).status == 200
    assert seen.wrong == []
    seen.context.close()


def test_a_person_with_a_keyboard_snoozes_a_rule(browser, url):
    seen = Seen(browser, url)
    seen.go("/")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent") == "Skip to content"
    seen.log_in("/rules/checkout-friction")
    seen.page.get_by_label("Until").focus()
    seen.page.keyboard.press("ArrowDown")
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Enter")
    seen.page.get_by_role("button", name="End the snooze now").wait_for()
    assert "Snoozed" in seen.page.inner_text("#state")
    seen.page.get_by_role("button", name="End the snooze now").click()
    seen.page.get_by_role("button", name="End the snooze now").wait_for(state="detached")
    seen.page.get_by_role("button", name="Log out").click()
    seen.page.get_by_role("link", name="Log in").wait_for()
    assert seen.wrong == []
    seen.context.close()


def test_everything_works_without_scripts(browser, url):
    seen = Seen(browser, url, java_script_enabled=False)
    seen.log_in("/activity")
    seen.page.get_by_label("What").select_option("match")
    seen.page.get_by_role("button", name="Show").click()
    seen.page.wait_for_url("**kind=match*")
    assert "matched" in seen.page.inner_text("#entries")
    seen.page.locator("#entries a.mono").first.click()
    seen.page.get_by_role("link", name="Watch in Mouseflow").wait_for()
    assert seen.wrong == []
    seen.context.close()


def test_nine_tabs_are_not_too_many(browser, url):
    seen = Seen(browser, url)
    for _ in range(9):
        page = seen.context.new_page()
        page.goto(url, wait_until="load", timeout=60_000)
    tabs = [page for page in seen.context.pages if page.url.startswith(url)]
    seen.wrong.clear()
    live = [page for page in tabs if page.locator("#live[data-live=on]").count()]
    assert 1 <= len(live) <= 4
    seen.context.close()

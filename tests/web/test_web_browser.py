"""A real browser walks the pages of the real daemon."""

import shutil

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from daemon_world import RULE, Daemon
from playwright.sync_api import sync_playwright

from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

CHROMIUM = shutil.which("chromium")
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
PAGES = ("/", "/rules", "/rules?state=silent", "/rules?state=disabled", "/rules/checkout-friction",
         "/rules/old-rule", "/rules/nobody-pays", "/reports", "/budgets", "/activity", "/queue",
         "/login")  # fmt: skip
SIZES = ((390, "light"), (390, "dark"), (1280, "light"), (1280, "dark"))

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
        self.wrong = []
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
        if message.type == "error":
            self.wrong.append(message.text)

    def _request(self, request):
        if not request.url.startswith(self.url):
            self.wrong.append(request.url)

    def go(self, path):
        self.page.goto(self.url + path, wait_until="load")

    def log_in(self, after="/"):
        self.go(f"/login?next={after}")
        self.page.keyboard.press("Tab")
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"**{after}")


def pages_of_matches(url):
    """A recording, its match, and the match that counts two of them."""
    (counted,) = (
        match
        for match in httpx.get(f"{url}/api/v1/rules/counted", timeout=60).json()["matches"]
        if match["stands_for"]
    )
    return (
        f"/recordings/{counted['recording_id']}",
        f"/matches/{counted['key']}",
        f"/matches/{counted['key'].replace('counted', 'checkout-friction', 1)}",
    )


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_every_page_is_clean_accessible_and_fits(browser, url, width, scheme):
    seen = Seen(browser, url, width, scheme)
    for path in (*PAGES, *pages_of_matches(url)):
        seen.go(path)
        seen.page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
        found = Axe().run(seen.page).response["violations"]
        assert [(it["id"], it["nodes"][0]["html"]) for it in found] == [], path
        sideways = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not seen.page.evaluate(sideways), path
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
        page.goto(url, wait_until="load", timeout=10_000)
    tabs = [page for page in seen.context.pages if page.url.startswith(url)]
    seen.wrong.clear()
    live = [page for page in tabs if page.locator("#live[data-live=on]").count()]
    assert 1 <= len(live) <= 4
    seen.context.close()

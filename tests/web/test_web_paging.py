"""Long lists come page by page: rules, websites and lanes; totals are of all of them."""

import re
from datetime import timedelta

import pytest
from test_web_hooks import events, often, served  # noqa: F401 - a fixture
from test_web_pages import text_of
from web_world import NOW, WebWorld

from bot.store.lanes import pause_lane
from bot.store.recordings import SeenRecording, save_recordings, set_watermark, set_websites
from bot.store.rules import pause_rule
from bot.web.read.overview import overview
from bot.web.read.queue import queue
from bot.web.read.rules import rules
from bot.web.read.world import Span
from bot.web.read.world import world as frame

RULE = """
  rule-{n:03}:
    summary: Visitor {n} meets a missing page
    severity: critical
    watch: recordings
    when: {{saw_page: /404}}
    do: {{slack: {{channel: "#outlet-alerts"}}}}
"""
MANY = "version: 1\nrules:\n" + "".join(RULE.format(n=n) for n in range(120))
SITES = [f"site-{n:03}" for n in range(120)]


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path, MANY)
    world.sites = dict.fromkeys(SITES, False)
    world.write(set_websites, {key: f"shop-{key[-3:]}.example" for key in SITES}, {}, NOW)
    yield world
    world.store.close()


def seen(world, site, *keys):
    """Recordings of today."""
    found = [
        SeenRecording(id=key, fingerprint="f", settled=False, created=NOW, last_activity=NOW)
        for key in keys
    ]
    world.write(set_watermark, "recordings", site, "{}", NOW)
    world.write(save_recordings, site, found, NOW)


async def view(asking, path, **query):
    answer = await asking.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def by_links(asking, path):
    """The pages, as somebody without scripts goes through them."""
    pages = []
    while path:
        answer = await asking.get(path)
        assert answer.status_code == 200
        pages.append(answer.text)
        link = re.search(r'href="([^"]+)">Next</a>', answer.text)
        path = link and link[1].replace("&amp;", "&")
    return pages, answer.url


async def test_rules_come_page_by_page_problems_first_with_the_totals_of_all(world):
    world.write(pause_rule, "rule-077", "too much", NOW)
    async with world.ask() as asking:
        first = await view(asking, "rules")
        assert [row["id"] for row in first["rules"]][:2] == ["rule-077", "rule-000"]
        assert first["paging"] == {"page": 1, "pages": 3, "total": 120}
        assert (first["total"], first["counts"]["paused"], len(first["rules"])) == (120, 1, 50)
        rest = [await view(asking, "rules", page=page) for page in (2, 3)]
        ids = [row["id"] for each in (first, *rest) for row in each["rules"]]
        assert sorted(ids) == [f"rule-{n:03}" for n in range(120)]
        pages, last = await by_links(asking, "/rules?state=silent")
        assert [len(re.findall(r'<small class="mono">', page)) for page in pages] == [50, 50, 20]
        assert "120 rules" in text_of(pages[2])
        assert "Page 3 of 3" in text_of(pages[2])
        assert dict(last.params) == {"state": "silent", "page": "3"}
        assert 'href="/rules?state=silent&amp;page=2#list">Previous</a>' in pages[2]
        assert "Next</a>" not in pages[2]
        few = await view(asking, "rules", state="paused")
        assert few["paging"] == {"page": 1, "pages": 1, "total": 1}
        assert "Page 1" not in text_of((await asking.get("/rules?state=paused")).text)


async def test_the_json_takes_a_limit_and_a_page_too_far_is_the_last_one(world):
    async with world.ask() as asking:
        every = await view(asking, "rules", limit=1000)
        assert len(every["rules"]) == 120
        last = await view(asking, "rules", page=99, limit=40)
        assert last["paging"] == {"page": 3, "pages": 3, "total": 120}
        assert [row["id"] for row in last["rules"]] == [row["id"] for row in every["rules"]][80:]
        for path in ("rules", "overview", "queue"):
            for query in ({"page": "0"}, {"page": "x"}, {"limit": "1001"}):
                answer = await asking.get(f"/api/v1/{path}", params=query)
                assert answer.status_code == 422, (path, query)
        document = (await asking.get("/api/v1/openapi.json")).json()
        for path in ("rules", "overview", "queue"):
            asked = document["paths"][f"/api/v1/{path}"]["get"]["parameters"]
            assert {"page", "limit"} <= {each["name"] for each in asked}


async def test_websites_that_cant_be_polled_are_first_then_the_busiest(world):
    seen(world, "site-005", "a")
    seen(world, "site-100", "b", "c")
    async with world.ask() as asking:
        first = await view(asking, "overview")
        names = [site["id"] for site in first["websites"]]
        assert names[:3] == ["site-100", "site-005", "site-000"]
        assert first["websites"][0]["today"] == 2
        assert first["paging"] == {"page": 1, "pages": 3, "total": 120}
        failing = (
            '{"failing": [{"kind": "recordings", "what": "recordings of shop-117.example",'
            ' "trouble": "other", "reason": "odd answer", "since": "2026-11-26T13:00:00Z",'
            ' "times": 3}]}'
        )
        world.write(set_watermark, "outages", "", failing, NOW)
        troubled = await view(asking, "overview")
        assert [site["id"] for site in troubled["websites"]][:2] == ["site-117", "site-100"]
        pages, _last = await by_links(asking, "/")
        assert [page.count('data-label="Newest"') for page in pages] == [50, 50, 20]
        assert "120 websites watched" in text_of(pages[1])
        assert 'href="/?page=1#websites">Previous</a>' in pages[1]


async def test_lanes_come_page_by_page(world):
    for n in range(70):
        world.write(pause_lane, f"slack:#c-{n:02}", NOW + timedelta(minutes=1), "busy")
    async with world.ask() as asking:
        found = await view(asking, "queue", page=2)
        assert (len(found["lanes"]), found["paging"]["total"]) == (20, 70)
        pages, _last = await by_links(asking, "/queue")
        assert [page.count('data-label="Oldest"') for page in pages] == [50, 20]


async def test_a_live_page_stays_on_its_page_and_filter(world, often):  # noqa: F811
    async def work(asking):
        page = (await asking.get("/rules?state=silent&page=3")).text
        stream = re.search(r'data-stream="/api/v1/stream\?topic=([^"]+)"', page)
        topic = stream[1].replace("&amp;", "&")
        async for name, data in events(asking, topic):
            if name == "part" and data["id"] == "list":
                assert data["html"].count('<th role="rowheader"') == 20
                assert "state=silent&amp;page=2#list" in data["html"]
                break
        refused = await asking.get("/api/v1/stream?topic=rules&page=x")
        assert refused.status_code == 422

    await served(world, work)


async def test_a_page_of_rules_and_of_websites_stays_small(world):
    for site in SITES:
        seen(world, site, f"recording-of-{site}")
    async with world.ask() as asking:
        for path in ("/", "/rules"):
            page = (await asking.get(path)).text
            static = dict.fromkeys(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
            sizes = [len((await asking.get(each)).content) for each in static]
            assert len(page.encode()) + sum(sizes) < 100_000, path


@pytest.mark.parametrize("read", [overview, rules, queue])
def test_no_page_reads_a_whole_table_that_grows(world, read):
    def plans(conn):
        driver, asked = conn.connection.driver_connection, []
        driver.set_trace_callback(asked.append)
        try:
            read(frame(conn, world.facts()), Span())
        finally:
            driver.set_trace_callback(None)
        return {
            (line[-1], each)
            for each in asked
            if each.startswith("SELECT")
            for line in driver.execute(f"EXPLAIN QUERY PLAN {each}")
        }

    found = world.store.do(plans)
    assert any("matches" in line for line, _statement in found)
    whole = re.compile(r"SCAN (steps|matches|recordings|audit)\b(?!.* INDEX )")
    assert not [each for each in found if whole.match(each[0])]

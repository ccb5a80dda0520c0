"""The status page of several accounts: one address each, one overview, metrics with a label."""

import re
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as families
from web_world import TOKEN, WebWorld

from bot.store.audit import Note, record
from bot.store.rules import pause_rule
from bot.web.accounts import Accounts
from bot.web.app import Guard
from bot.web.safety import Hosts

NAMES = ("shop", "outlet", "later")


class AccountsWorld:
    """Two accounts that run, and one that does not."""

    def __init__(self, folder, **settings):
        self.worlds = {}
        for name in NAMES[:2]:
            (folder / name).mkdir()
            world = self.worlds[name] = WebWorld(folder / name, **settings)
            world.settings = world.settings.of_account(name, NAMES)
            note = Note(kind="notice", text=f"news of {name}")
            world.write(lambda conn, note=note, now=world.now: record(conn, now, [note]))
        self.section = self.worlds["shop"].settings.web
        self.why = {name: f"{name} has no key." for name in NAMES}

    @asynccontextmanager
    async def ask(self, *running):
        accounts = Accounts(NAMES, self.section, self.why.__getitem__)
        async with AsyncExitStack() as stack:
            for name in running or NAMES[:2]:
                await stack.enter_async_context(accounts.serve(self.worlds[name].facts()))
            app = Guard(accounts.app(), Hosts.of("127.0.0.1", None))
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080"
            )
            yield await stack.enter_async_context(client)


@pytest.fixture
def world(tmp_path):
    return AccountsWorld(tmp_path)


async def test_each_account_has_its_pages_under_its_own_address(world):
    async with world.ask() as client:
        for name, other in (("shop", "outlet"), ("outlet", "shop")):
            found = await client.get(f"/accounts/{name}/activity")
            assert f"news of {name}" in found.text
            assert f"news of {other}" not in found.text
            paths = re.findall(r' (?:href|src|action|data-stream)="(/[^"]*)', found.text)
            assert paths
            assert {path.split("/")[2] for path in paths} == {name, ""}  # "" is the overview
            for path in set(paths):
                if "stream" not in path and "logout" not in path:
                    assert (await client.get(path.replace("&amp;", "&"))).status_code < 400, path


async def test_the_overview_lists_all_accounts_and_why_one_does_not_run(world):
    async with world.ask() as client:
        for path in ("/", "/accounts/"):
            found = await client.get(path)
            assert found.status_code == 200
            for name in NAMES:
                assert f'href="/accounts/{name}/"' in found.text
            assert "later has no key." in found.text
        rows = (await client.get("/api/v1/accounts")).json()["accounts"]
        assert [(row["name"], row["state"]) for row in rows] == [
            ("shop", "ok"), ("outlet", "ok"), ("later", "crit"),
        ]  # fmt: skip
        assert (await client.get("/accounts/later/rules")).status_code == 503
        assert (await client.get("/accounts/nobody/rules")).status_code == 404
        moved = await client.get("/accounts/shop")
        assert (moved.status_code, moved.headers["location"]) == (307, "/accounts/shop/")


async def test_one_login_serves_all_accounts_and_changes_go_to_the_right_one(world):
    async with world.ask() as client:
        headers = {"sec-fetch-site": "same-origin"}
        wrong = await client.post("/accounts/shop/login", data={"token": "x"}, headers=headers)
        assert wrong.status_code == 403
        done = await client.post(
            "/accounts/shop/login", data={"token": TOKEN, "next": "/accounts/outlet/"},
            headers=headers,
        )  # fmt: skip
        assert done.headers["location"] == "/accounts/outlet/"
        page = await client.get("/accounts/outlet/rules/outlet-404")
        [key] = set(re.findall(r'name="csrf" value="([^"]+)"', page.text))
        snoozed = await client.post(
            "/accounts/outlet/rules/outlet-404/snooze",
            data={"csrf": key, "until": "1h"}, headers=headers,
        )  # fmt: skip
        assert snoozed.headers["location"] == "/accounts/outlet/rules/outlet-404"
        assert (world.worlds["shop"].woken, world.worlds["outlet"].woken) == (0, 1)


async def test_the_overview_says_of_each_account_what_its_own_page_says(world):
    shop = world.worlds["shop"]
    shop.write(lambda conn: pause_rule(conn, "outlet-404", "more than 200 in 1 h", shop.now))
    async with world.ask() as client:
        assert "One thing needs you" in (await client.get("/accounts/shop/")).text
        rows = (await client.get("/api/v1/accounts")).json()["accounts"]
        assert (rows[0]["state"], rows[0]["text"]) == (
            "warn", "Rule outlet-404 is paused by its safety limit",
        )  # fmt: skip
        page = (await client.get("/")).text
        assert "<h1>2 of 3 accounts need you</h1>" in page
        assert (rows[2]["websites"], rows[2]["waiting"], rows[2]["dead"]) == (None, None, None)


async def test_each_page_says_whose_it_is_and_gives_commands_that_run(world):
    async with world.ask() as client:
        page = (await client.get("/accounts/outlet/")).text
        assert "· outlet · Mouseflow bot</title>" in page
        assert "<span>outlet</span>" in page  # the footer
        assert "mouseflow-bot replay --account outlet --since 24h" in page
        frame = (await client.get("/accounts/outlet/api/v1/overview")).json()["frame"]
        assert frame["account"] == "outlet"


async def test_health_is_that_of_the_accounts_that_run(world):
    async with world.ask() as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200  # one that failed holds up nobody
        world.why["later"] = ""
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.text) == (503, "starting: later\n")
        world.worlds["outlet"].pulse = world.worlds["outlet"].pulse.__class__(0.0, 0.0)
        assert (await client.get("/healthz")).status_code == 503


async def test_metrics_name_the_account(world):
    async with world.ask() as client:
        text = (await client.get("/metrics")).text
        found = list(families(text))
        assert len({family.name for family in found}) == len(found)
        matches = next(it for it in found if it.name == "mouseflow_bot_rule_matches")
        assert {sample.labels["account"] for sample in matches.samples} == {"shop", "outlet"}
        up = next(it for it in found if it.name == "mouseflow_bot_account_up")
        assert {it.labels["account"]: it.value for it in up.samples} == {
            "shop": 1, "outlet": 1, "later": 0,
        }  # fmt: skip


async def test_an_account_whose_store_is_gone_hides_no_other(world, tmp_path):
    async with world.ask() as client:
        (tmp_path / "outlet" / "bot.db").unlink()
        found = {it.name: it for it in families((await client.get("/metrics")).text)}
        up = {it.labels["account"]: it.value for it in found["mouseflow_bot_account_up"].samples}
        assert up == {"shop": 1, "outlet": 0, "later": 0}
        rows = (await client.get("/api/v1/accounts")).json()["accounts"]
        assert [row["state"] for row in rows] == ["ok", "crit", "crit"]
        assert "does not exist" in rows[1]["text"]


async def test_an_account_that_ends_leaves_the_others_their_pages(world):
    async with world.ask("outlet") as client:
        assert (await client.get("/accounts/outlet/")).status_code == 200
        gone = await client.get("/accounts/shop/")
        assert gone.status_code == 503
        assert "<h1>shop does not run</h1><p>shop has no key. The other" in gone.text
        assert 'href="/accounts/"' in gone.text  # the way back to them
        twin = await client.get("/accounts/shop/api/v1/overview")
        assert (twin.status_code, twin.json()["message"]) == (503, "shop has no key.")

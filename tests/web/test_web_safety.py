"""Who gets in, from where, and what no answer says."""

import pytest
from web_world import TOKEN, WebWorld, logged_in

from bot.web.safety import FREE_TRIES, LIFE, LONGEST_DELAY, Hosts, local_path, network

OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path)
    yield world
    world.store.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost:9000", 200),
        ("[::1]:8080", 200),
        ("LOCALHOST", 200),
        ("10.1.2.3", 200),
        ("mouseflow-bot:8080", 200),
        ("127.0.0.1.evil.example", 400),
        ("evil.example", 400),
        ("", 400),
        ("[::1", 400),
    ],
)
async def test_a_foreign_host_name_is_refused(world, host, status):
    async with world.ask() as asking:
        found = await asking.get("/login", headers={"host": host})
        assert found.status_code == status
        assert (await asking.get("/healthz", headers={"host": host})).status_code == 200


def test_the_public_name_is_known():
    hosts = Hosts.of("127.0.0.1", "https://Bot.Example.com")
    assert hosts.allow("bot.example.com")
    assert hosts.allow("bot.example.com.:443")
    assert not hosts.allow("example.com")


async def test_every_answer_has_the_strict_headers(world):
    async with world.ask() as asking:
        for path in ("/healthz", "/login", "/nothing", "/static/x/style.css"):
            headers = (await asking.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'"), path
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
        (address,) = {
            part.split('"')[0]
            for part in (await asking.get("/login")).text.split('href="')
            if "style" in part.split('"')[0]
        }
        sheet = await asking.get(address)
        assert "immutable" in sheet.headers["cache-control"]
        assert sheet.headers["content-type"].startswith("text/css")


async def test_login_gives_a_cookie_that_scripts_and_other_sites_never_see(world):
    async with world.ask() as asking:
        answer = await logged_in(asking)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie  # over plain http browsers would drop it
        assert TOKEN not in cookie


async def test_over_https_the_cookie_is_secure_and_bound_to_the_host(tmp_path):
    world = WebWorld(tmp_path, BOT_WEB__PUBLIC_URL="https://bot.example.com")
    async with world.ask(host="bot.example.com") as asking:
        cookie = (await logged_in(asking)).headers["set-cookie"]
        assert cookie.startswith("__Host-")
        assert "; secure" in cookie.lower()
        assert "path=/" in cookie.lower()
    world.store.close()


async def test_wrong_tokens_wait_longer_and_longer_and_others_do_not(world):
    async def attempt(asking, token="wrong"):
        return await asking.post("/login", data={"token": token}, headers=OWN)

    async with world.ask() as asking:
        for _ in range(FREE_TRIES):
            assert (await attempt(asking)).status_code == 403
        waits = []
        for _ in range(12):
            refused = await attempt(asking, TOKEN)  # even the right one, while it waits
            assert refused.status_code == 429
            wait = int(refused.headers["retry-after"])
            assert f"in {wait} s" in refused.text
            waits.append(wait)
            world.seconds += wait
            assert (await attempt(asking)).status_code == 403
        assert waits[:4] == [1, 2, 4, 8]
        assert max(waits) == LONGEST_DELAY
        async with world.ask(client="10.0.0.9") as other:
            assert (await attempt(other, TOKEN)).status_code == 303
        world.seconds += LONGEST_DELAY
        assert (await attempt(asking, TOKEN)).status_code == 303
        assert (await attempt(asking)).status_code == 403  # counts from the start again


async def test_a_hostile_token_is_only_wrong(world):
    async with world.ask() as asking:
        for body in (b"token=%ff%fe", "token=ключ".encode(), b"token=" + b"x" * 60_000, b"\xff"):
            found = await asking.post("/login", content=body, headers=OWN)
            assert found.status_code in (400, 403, 429)
        found = await asking.post("/login", content=b"t=" + b"x" * 100_000, headers=OWN)
        assert found.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {},
    ],
)
async def test_no_other_site_can_log_somebody_in_or_out(world, headers):
    async with world.ask() as asking:
        found = await asking.post("/login", data={"token": TOKEN}, headers=headers)
        assert found.status_code == 403
        await logged_in(asking)
        csrf = {"csrf": form_key(await asking.get("/login"))}
        assert (await asking.post("/logout", data=csrf, headers=headers)).status_code == 403


def form_key(_page):
    return "nothing that fits"


async def test_a_form_of_no_page_of_this_login_is_refused(world):
    async with world.ask() as asking:
        assert (await asking.post("/logout", headers=OWN)).status_code == 401
        await logged_in(asking)
        for form in ({}, {"csrf": "0" * 64}):
            assert (await asking.post("/logout", data=form, headers=OWN)).status_code == 403


async def test_a_program_gives_the_token_in_a_header(world):
    async with world.ask() as asking:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await asking.post("/logout", headers=bearer)).status_code == 303
        wrong = {"authorization": "Bearer wrong"}
        assert (await asking.post("/logout", headers=wrong)).status_code == 401


async def test_a_login_ends_with_its_time_with_the_token_and_by_hand(world):
    async with world.ask() as asking:
        login = await logged_in(asking)
        cookie = login.headers["set-cookie"].split("=", 1)[1].split(";")[0]
        status = (await asking.post("/logout", headers=OWN)).status_code
        assert status == 403  # logged in: only the form is wrong
        world.token = "another token"
        assert (await asking.post("/logout", headers=OWN)).status_code == 401
        world.token = TOKEN
        world.seconds += LIFE + 1
        assert (await asking.post("/logout", headers=OWN)).status_code == 401
        forged = f"{int(cookie.split('.')[0]) * 10}.{cookie.split('.', 1)[1]}"
        headers = OWN | {"cookie": f"mouseflow_bot={forged}"}
        assert (await asking.post("/logout", headers=headers)).status_code == 401


async def test_without_a_token_nobody_can_log_in(tmp_path):
    world = WebWorld(tmp_path)
    world.token = ""
    async with world.ask() as asking:
        assert (await asking.get("/login")).status_code == 404
        for token in ("", "x"):
            found = await asking.post("/login", data={"token": token}, headers=OWN)
            assert found.status_code == 404
        bearer = {"authorization": "Bearer "}
        assert (await asking.post("/logout", headers=bearer)).status_code == 401
    world.store.close()


def test_the_way_back_after_a_login_stays_on_the_page():
    for hostile in ("//evil.example", "/\\evil", "https://evil", "/a\r\nb", "", "x", "/\x00"):
        assert local_path(hostile) == "/"
    assert local_path("/rules/checkout%2Ffriction?x=1") == "/rules/checkout%2Ffriction?x=1"


def test_an_attacker_with_a_whole_network_is_one():
    assert network("2001:db8::1") == network("2001:db8::ffff:2")
    assert network("10.0.0.1") != network("10.0.0.2")
    assert network("nonsense") == "?"


async def test_health_follows_the_pulse_and_readiness_the_websites(world):
    async with world.ask() as asking:
        assert (await asking.get("/healthz")).text == "ok\n"
        assert (await asking.head("/healthz")).status_code == 200
        world.now = world.now.replace(hour=15)
        assert (await asking.get("/healthz")).status_code == 503
        world.ready = False
        assert (await asking.get("/readyz")).status_code == 503


async def test_a_missing_page_is_a_page_of_its_own(world):
    async with world.ask() as asking:
        found = await asking.get("/nothing<script>")
        assert found.status_code == 404
        assert "There is no such page" in found.text
        assert "<script>" not in found.text.replace('<script src="', "")
        assert (await asking.get("/api/v1/nothing")).json()["error"] == "http.404"
        assert (await asking.delete("/login")).status_code == 405

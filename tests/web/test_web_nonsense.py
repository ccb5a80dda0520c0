"""Whatever somebody sends to a page or a form, the answer is no fault of the bot's."""

import re
from functools import partial

import pytest
from starlette.routing import Route
from test_web_pages import SITE, matched, perform
from web_world import TOKEN, WebWorld

from bot.store.dead_letters import dead_letters, waiting_steps
from bot.store.outbox import give_up
from bot.store.rules import pause_rule, rule_states
from bot.web.app import ROUTES

NOW_PAUSED = "checkout-friction"
NONSENSE = ("%00", "%ff", "%ed%a0%80", "9" * 40, "..%2F'%22%3E{{7*7}}%0d%0aset-cookie:%20a=b")
BODIES = (
    *(b"", b"\xff\xfe", b"&&=&", b"until=1h%00", b"until=" + b"9" * 5000, b"group=%00"),
    *(b"group=%ff&group=2", b"a=b&" * 60, b"csrf=%00&token=%00&next=//evil.example", b"a" * 10**6),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request, tmp_path):
    more = {}
    if request.param == "postgresql":
        more["BOT_STORE__URL"] = request.getfixturevalue("postgres_url")
    made = WebWorld(tmp_path, **more)
    yield made
    made.store.close()


def routes(method):
    return [it.path for it in ROUTES if isinstance(it, Route) and method in (it.methods or ())]


async def test_a_page_answers_any_address(world):
    matched(world)
    async with world.ask() as asking:
        for path in routes("GET"):
            if "stream" in path:
                continue
            for odd in NONSENSE:
                address = re.sub(r"{\w+(:path)?}", lambda _, odd=odd: odd, path)
                names = ("rule", "website", "kind", "before", "after", "until", "state", "q")
                query = "&".join(f"{name}={odd}" for name in names)
                answer = await asking.get(f"{address}?{query}")
                assert answer.status_code < 500, (address[:200], answer.text[:500])
                assert "set-cookie" not in answer.headers


async def test_a_form_with_nonsense_changes_nothing(world):
    matched(world, key="a" * 32, steps=("tag",))
    perform(world, f"mouseflow:{SITE}", partial(give_up, reason="403 refused"))

    def state():
        return (
            world.store.do(rule_states),
            [it.id for it in world.store.do(dead_letters)],
            world.store.do(waiting_steps),
        )

    before = state()
    async with world.ask() as asking:
        for path in routes("POST"):
            if path.endswith(("/logout", "/resume", "/hooks/poll")):
                continue
            for odd in (NOW_PAUSED, *NONSENSE[:1]):
                address = path.replace("{id}", odd).replace("{secret}", odd)
                for body in BODIES:
                    answer = await asking.post(
                        address, content=body,
                        headers={
                            "authorization": f"Bearer {TOKEN}",
                            "content-type": "application/x-www-form-urlencoded",
                        },
                    )  # fmt: skip
                    assert answer.status_code < 500, (address[:200], body[:100], answer.text[:500])
                if "{" not in path:
                    break
    assert state() == before
    world.store.do(lambda conn: pause_rule(conn, NOW_PAUSED, "too many", world.now))
    assert world.store.do(rule_states)[NOW_PAUSED].paused_at == world.now

"""In any world, the polls find exactly the matches that an omniscient judge sees.

Random worlds: traffic, sort order, row caps, faults, restarts, deletions, zones,
late rows, downtime. To run more:
`POLL_WORLDS=5000 python -m pytest tests/polling/test_poll_worlds.py`
"""

import os
import random
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from poll_world import Account

from bot.errors import BotError
from mouseflow.recordings import star
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import SCENARIOS, session
from mouseflow.simulator.sessions import Visitor

WORLDS = int(os.environ.get("POLL_WORLDS", "60"))

RULES = """
checkout-friction:
  watch: recordings
  when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}
  do: {tag: friction}
bounce:
  watch: recordings
  when: {device: phone, pages: {max: 1}, duration: {under: 10s}}
  do: {tag: bounce}
rage:
  watch: recordings
  when: {page: {path: /product*, tags: click-rage}}
  do: {tag: rage}
regulars:
  watch: recordings
  when: {visitor_type: returning, friction: {min: 5}}
  do: {tag: regular}
calm-buyers:
  watch: recordings
  when: {journey: [/cart, /checkout], friction: {under: 1}}
  except: {tags: submit-failure}
  do: {tag: calm}
anyone-lost:
  watch: recordings
  when: {any: [{tags: "404"}, {exit_page: /checkout*, not: {tags: submit}}]}
  do: {tag: lost}
"""

BY_REGION = """
short-in-berlin:
  watch: recordings
  when: {region: Berlin, duration: {under: 2m}}
  do: {tag: berlin}
elsewhere:
  watch: recordings
  when: {saw_page: /cart*, pages: {max: 4}}
  except: {region: Berlin}
  do: {tag: elsewhere}
"""
"""With these, lists with page views are not enough."""

UNKNOWN = """
abroad:
  watch: recordings
  when: {pages: {min: 2}}
  except: {region: Berlin}
  do: {share: true}
untagged:
  watch: recordings
  when: {pages: {min: 2}, not: {tags: {not: submit}}}
  do: {tag: untagged}
first-in-peace:
  watch: recordings
  when: {starred: true, visitor_type: first}
  except: {friction: {min: 1}}
  do: {share: true}
unstarred:
  watch: recordings
  when: {starred: false, pages: {min: 3}}
  do: {tag: unstarred}
"""
"""With these, taking what is unknown for false or true makes matches."""

PAGES = ["/", "/landing", "/products/runner-3", "/product/x", "/cart", "/checkout", "/checkout/pay"]
EVENTS = ["click-rage", "404", "submit-failure", "click-error", "dead-click", "submit"]


def script(chance: random.Random):
    if chance.random() < 0.5:
        return SCENARIOS[chance.choice(sorted(SCENARIOS))]()
    stay = [(chance.choice(PAGES), chance.uniform(2, 200)) for _ in range(chance.randint(1, 6))]
    length = sum(seconds for _, seconds in stay)
    events = [
        (chance.uniform(0, length), chance.choice(EVENTS)) for _ in range(chance.randint(0, 4))
    ]
    visitor = Visitor(
        returning=chance.random() < 0.4,
        region=chance.choice(["Berlin", "Hesse", ""]),
        device=chance.choice(["Phone", "Desktop", "Tablet"]),
    )
    return session(stay, sorted(events), visitor=visitor)


def quirks(chance: random.Random) -> Quirks:
    return Quirks(
        sort=chance.choice(["created", "last_activity"]),
        offset=chance.choice(["honoured", "ignored"]),
        row_cap=chance.choice([10_000, 10_000, 60]),
        reversed_rows=chance.random() < 0.1,
        visibility_delay=timedelta(seconds=chance.choice([0, 0, 40, 400])),
        time_zone=chance.choice(["Europe/Copenhagen", "America/Los_Angeles", "Asia/Tokyo", "UTC"]),
        clock_skew=timedelta(seconds=chance.choice([0, 0, 50, -50])),
        entry_page_host=chance.random() < 0.2,
        stale_detail=chance.random() < 0.2,
        expand=chance.random() < 0.7,
        tagless_expansion=chance.random() < 0.3,
    )


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_the_matches_are_those_of_an_omniscient_judge(seed, tmp_path):
    chance = random.Random(seed)
    zone = chance.choice([None, None, "UTC", "Pacific/Auckland"])
    rules = RULES + (BY_REGION if chance.random() < 0.3 else "")
    marks = chance.random() < 0.4
    rules += UNKNOWN if marks else ""
    shop = Account(tmp_path, rules, quirks=quirks(chance), zone=zone, start=timedelta())
    often = chance.random() < 0.5  # as polls come: every session is seen while it is live
    # Around midnight and clock changes as well as at noon.
    shop.now += timedelta(hours=chance.uniform(0, 500))
    shop.sim.clock.advance(timedelta())
    await polled(shop)
    planted: list[str] = []
    deleted: set[str] = set()
    stars: list[tuple[datetime, str]] = []
    for _ in range(chance.randint(5, 25)):
        for _ in range(chance.randint(0, 12)):
            start = chance.uniform(1, 60)
            planted.append(shop.sim.add("myshop.com", script(chance), start=start))
            if marks and chance.random() < 0.3:
                stars.append((shop.now + timedelta(minutes=chance.uniform(1, 25)), planted[-1]))
        downtime = chance.random() < 0.05
        shop.wait(
            minutes=chance.uniform(60, 2000) if downtime else chance.uniform(1, 3 if often else 20)
        )
        if chance.random() < 0.15:
            shop.restart()
        if chance.random() < 0.15:
            shop.sim.fail(
                chance.choice(["status", "half", "html", "close"]),
                times=chance.randint(1, 3),
                skip=chance.randint(0, 4),
            )
        if planted and chance.random() < 0.1:
            gone = chance.choice(planted)
            if gone not in deleted:
                shop.sim.delete(gone)
                deleted.add(gone)
        stars = [each for each in stars if not await starred(shop, *each)]
        await polled(shop)
    for minutes in (5, 40, 90):
        shop.wait(minutes=minutes)
        shop.sim.faults.clear()
        await shop.poll()
    shop.sim.behave(stale_detail=False)
    there = [each for each in planted if each not in deleted]
    found = {(rule, each) for rule, each in shop.matched() if each not in deleted}
    assert found == await shop.truth(there)
    shop.close()


async def starred(shop: Account, at: datetime, recording: str) -> bool:
    """Star it if it is time and the session has not ended."""
    if shop.now >= at + timedelta(minutes=5):
        return True
    if shop.now >= at:
        with suppress(BotError):
            await shop.sender.send(star(shop.site.id, recording))
        return True
    return False


async def polled(shop: Account) -> None:
    """A poll that may fail, as polls do."""
    try:
        await shop.poll()
    except BotError:
        return

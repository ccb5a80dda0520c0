"""Polls where several troubles come together: nothing is missed, nothing acts twice."""

import random
from datetime import timedelta
from itertools import cycle

import pytest
from test_filter_checks import notices, watched

from bot.errors import Forbidden, GiveUp, TryLater
from mouseflow.recordings import star, tag, unstar
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor
from mouseflow.simulator.site import Planted

MARKED = """
starred:
  watch: recordings
  when: {starred: true}
  do: {slack: {}}
tagged:
  watch: recordings
  when: {tags: share-me}
  do: {share: true}
watched:
  watch: recordings
  when: {watched: true}
  do: {tag: seen}
"""
CROSS = """
cross:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {tag: cross}
calm:
  watch: recordings
  when: {friction: {max: 1}, pages: {min: 2}}
  do: {tag: calm}
"""
RAGE = [(2, "click-rage"), (3, "click-rage"), (4, "click-rage")]


async def polled(shop, minutes, every=1):
    for _ in range(0, minutes, every):
        shop.wait(minutes=every)
        await shop.poll()


def ahead(shop, hours):
    """The bot's clock steps; the server's does not."""
    skew = shop.sim.world.quirks.clock_skew
    shop.wait(hours=hours)
    shop.sim.behave(clock_skew=skew - timedelta(hours=hours))


def watch(shop, who):
    site, visit, _ = shop.sim.world.inspect(who)
    shop.sim.world.marks(site, visit).watched.add(shop.sim.email)


@pytest.mark.parametrize("hours", [2, 30, 24 * 400])
async def test_marks_count_after_the_clock_was_ahead(account, hours):
    shop = account(MARKED, start=timedelta())
    shop.marks = timedelta(hours=24)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 60, every=5)
    ahead(shop, hours)
    await polled(shop, 3)
    ahead(shop, -hours)
    await polled(shop, 3)
    await shop.sender.send(star(shop.site.id, who))
    await shop.sender.send(tag(shop.site.id, who, "share-me"))
    watch(shop, who)
    await polled(shop, 70, every=5)
    assert shop.matched() == {(rule, who) for rule in ("starred", "tagged", "watched")}


async def test_a_star_that_came_and_went_and_came_counts_once(account):
    shop = account(MARKED, start=timedelta())
    shop.marks = timedelta(hours=24)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 60, every=5)
    for _ in range(3):
        await shop.sender.send(star(shop.site.id, who))
        await polled(shop, 10, every=5)
        await shop.sender.send(unstar(shop.site.id, who))
        await polled(shop, 70, every=10)
    assert shop.matched() == {("starred", who)}


async def test_marks_on_what_ended_in_a_downtime_count(account):
    shop = account(MARKED, start=timedelta())
    shop.marks = timedelta(hours=24)
    await shop.poll()
    one, two, three = (shop.sim.add("myshop.com", session([("/", 5)]), start=60) for _ in range(3))
    shop.restart()
    shop.wait(hours=3)
    await shop.sender.send(star(shop.site.id, one))  # before the backfill
    await polled(shop, 10)
    await shop.sender.send(tag(shop.site.id, two, "share-me"))
    watch(shop, three)
    await polled(shop, 70, every=5)
    assert shop.matched() == {("starred", one), ("tagged", two), ("watched", three)}


def acted(shop):
    """How many matches of each rule had actions."""
    query = "SELECT rule, count(DISTINCT match_id) FROM steps JOIN matches ON match_id = matches.id"
    read = f"{query} GROUP BY rule"
    return dict(map(tuple, shop.store.do(lambda conn: conn.exec_driver_sql(read).fetchall())))


class Half:
    """Fails about every second query that has this filter."""

    def __init__(self, real, name, error, chance):
        self.real, self.name, self.error, self.chance = real, name, error, chance

    async def send(self, request):
        if any(name == self.name for name, _value in request.query) and self.chance():
            raise self.error
        return await self.real.send(request)


ERRORS = [GiveUp("400"), Forbidden("403"), TryLater("500")]


@pytest.mark.parametrize("every", ["second", "second or so"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_filter_that_fails_half_of_the_time_costs_no_match(account, error, every):
    shop = account(CROSS, start=timedelta(), ops="#ops")
    shop.sim.add("myshop.com", session([("/", 30), ("/a", 30)]), start=-4000)
    turns, chance = cycle([True, False]), random.Random(7)
    fails = turns.__next__ if every == "second" else lambda: chance.random() < 0.5
    shop.sender = Half(shop.sender, "frictionmin", error, fails)
    watcher = watched(shop)
    await watcher.find_sites()
    await watcher.poll_recordings(shop.site)
    wanted = set()
    for _ in range(48):
        wanted.add(("cross", shop.sim.add("myshop.com", session([("/", 9)], RAGE), start=1)))
        calm = shop.sim.add("myshop.com", session([("/", 9), ("/a", 9)]), start=2)
        wanted.add(("calm", calm))
        for _ in range(5):
            shop.wait(minutes=1)
            await watcher.poll_recordings(shop.site)
    found = shop.matched("cross") | shop.matched("calm")
    assert len(found & wanted) > len(wanted) * 0.6  # it does work half of the time
    told = [title for title, _ in notices(shop)]
    assert len(told) <= 3
    assert all(title.startswith("Rules with friction ") for title in told)
    shop.sender.chance = lambda: False
    for _ in range(70):
        shop.wait(minutes=1)
        await watcher.poll_recordings(shop.site)
    assert shop.matched("cross") | shop.matched("calm") == wanted
    assert len(notices(shop)) <= 4
    assert not told or notices(shop)[-1][0].startswith("Rules with friction run again")


async def test_details_away_for_hours_cost_no_group_and_no_mark(account):
    text = """
    once:
      watch: recordings
      when: {exit_page: /paid}
      once_per: {region: 1d}
      do: {tag: once}
    thrice:
      watch: recordings
      when: {saw_page: /paid}
      count: {at_least: 3, within: 3h, by: region}
      do: {tag: thrice}
    marked:
      watch: recordings
      when: {starred: true, exit_page: /paid}
      do: {share: true}
    """
    shop = account("\n".join(line[4:] for line in text.strip("\n").splitlines()), start=timedelta())
    shop.marks = timedelta(hours=24)
    await shop.poll()
    hesse, berlin = Visitor(region="Hesse"), Visitor(region="Berlin")
    real = shop.sender

    class Away:
        async def send(self, request):
            if "/recordings/" in request.path and request.method == "GET":
                raise TryLater("503")
            return await real.send(request)

    shop.sender = Away()
    made = []
    for n in range(9):
        who = hesse if n % 3 else berlin
        made.append(
            shop.sim.add("myshop.com", session([("/", 9), ("/paid", 9)], visitor=who), start=1)
        )
        await polled(shop, 10)
        if n == 4:
            shop.restart()
    await polled(shop, 180, every=3)
    await real.send(star(shop.site.id, made[0]))
    await polled(shop, 60, every=3)
    assert shop.matched() == set()
    shop.sender = real
    await polled(shop, 70)
    assert shop.matched() == {
        *(("once", each) for each in made),
        *(("thrice", each) for each in made),
        ("marked", made[0]),
    }
    assert acted(shop) == {"marked": 1, "once": 2, "thrice": 3}


@pytest.mark.parametrize("cap", [3, 8, 10_000])
async def test_friction_counted_after_the_backfill_knows_what_the_backfill_matched(account, cap):
    text = """
once:
  watch: recordings
  when: {friction: {min: 2.5}}
  once_per: {visitor: 1d}
  do: {tag: once}
thrice:
  watch: recordings
  when: {friction: {min: 2.5}}
  count: {at_least: 3, within: 4h, by: website}
  do: {tag: thrice}
"""
    quirks = Quirks(row_cap=cap, offset="honoured")
    shop = account(text, start=timedelta(), quirks=quirks)
    shop.sim.add("myshop.com", session([("/", 5)]), start=-4000)
    await shop.poll()
    anna, bert = Visitor(id="a" * 32), Visitor(id="b" * 32)
    cross = [
        shop.sim.add("myshop.com", session([("/", 9)], RAGE, visitor=anna), start=600 + n * 60)
        for n in range(5)
    ]
    for n in range(20):
        shop.sim.add("myshop.com", session([("/", 9)]), start=700 + n * 90)
    late = [
        shop.sim.add("myshop.com", session([("/", 9)], visitor=who), start=3 * 3600 - 900 + n)
        for n, who in enumerate((anna, bert))
    ]
    shop.wait(hours=3)
    await polled(shop, 5)
    site = next(iter(shop.sim.world.sites.values()))
    for n, planted in enumerate(site.planted):
        if (
            planted.script.visitor in (anna, bert)
            and planted.start / 1000 > (shop.now - timedelta(hours=1)).timestamp()
        ):
            rage = session([("/", 9)], RAGE, visitor=planted.script.visitor)
            site.planted[n] = Planted(planted.start, rage)
    await polled(shop, 60)
    found = [*cross, *late]
    assert shop.matched() == {(rule, each) for rule in ("once", "thrice") for each in found}
    assert acted(shop) == {"once": 2, "thrice": 2}

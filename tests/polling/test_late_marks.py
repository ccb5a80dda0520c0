"""What people mark on a finished session counts for a day, at the price of few calls."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from poll_world import Account, rules
from test_filter_checks import Failing

from bot.errors import GiveUp, Gone
from bot.polling.site_rules import SiteRules
from mouseflow.models import RecordingPage
from mouseflow.recordings import edit_variables, star, tag, unstar
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor

RULES = """
starred:
  watch: recordings
  when: {starred: true}
  do: {slack: {}}
shared:
  watch: recordings
  when: {tags: share-me}
  do: {share: true}
short:
  watch: recordings
  when: {not: {starred: false}, pages: {max: 1}}
  do: {tag: short}
plan:
  watch: recordings
  when: {variables: {plan: pro}}
  do: {tag: pro}
"""


@pytest.fixture
def shop(tmp_path):
    made = Account(tmp_path, RULES, start=timedelta())
    made.marks = timedelta(hours=24)
    yield made
    made.close()


async def polled(shop, minutes, every=1):
    for _ in range(0, minutes, every):
        shop.wait(minutes=every)
        await shop.poll()


@pytest.mark.parametrize("late", [10, 30, 40, 120, 20 * 60])
async def test_a_star_and_a_tag_that_a_person_sets_later_count(shop, late):
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, late, every=1 if late <= 120 else 5)
    await shop.sender.send(star(shop.site.id, who))
    await shop.sender.send(tag(shop.site.id, who, "share-me"))
    await polled(shop, max(7, 40 - late))
    assert {("starred", who), ("shared", who)} <= shop.matched()
    await polled(shop, 70, every=5)
    assert shop.matched() == {("starred", who), ("shared", who), ("short", who)}


async def test_marks_that_no_filter_tells_count_within_the_hour(shop):
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 120, every=5)
    await shop.sender.send(edit_variables(shop.site.id, who, {"plan": "pro"}))
    await polled(shop, 65, every=5)
    assert shop.matched() == {("plan", who)}


async def test_a_session_that_began_long_before_its_marks_are_asked_for_counts(shop):
    shop.marks = timedelta(hours=2)
    await shop.poll()
    long = session([("/", 5), ("/cart", 4 * 3600)])
    who = shop.sim.add("myshop.com", long, start=0)
    await polled(shop, 5 * 60, every=5)
    await shop.sender.send(edit_variables(shop.site.id, who, {"plan": "pro"}))
    await polled(shop, 65, every=5)
    assert shop.matched() == {("plan", who)}


async def test_a_mark_of_more_than_a_day_later_does_not_count(shop):
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 25 * 60, every=15)
    await shop.sender.send(star(shop.site.id, who))
    await polled(shop, 120, every=5)
    assert shop.matched() == set()


async def test_a_mark_set_while_nobody_watched_counts_after_the_restart(shop):
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 60, every=5)
    shop.restart()
    await shop.sender.send(star(shop.site.id, who))
    shop.wait(minutes=20)
    await polled(shop, 2)
    assert shop.matched() == {("starred", who), ("short", who)}


async def test_marks_cost_few_calls(shop):
    await shop.poll()
    for n in range(50):
        shop.sim.add("myshop.com", session([("/", 5), ("/cart", 3)]), start=n)
    await polled(shop, 60, every=5)
    before = len(shop.calls)
    await polled(shop, 600, every=5)
    polls = 120
    assert len(shop.calls) - before <= polls * 3 + 10 + 2


def test_the_rules_about_marks_are_prepared_once(shop):
    site_rules = SiteRules(shop.rules, shop.site)
    assert site_rules.of_marked is site_rules.of_marked


PLAIN = "plain: {watch: recordings, when: {pages: {min: 9}}, do: {tag: a}}"
NEW = """
late:
  watch: recordings
  when: {starred: true, pages: {min: 1}}
  do: {tag: late}
"""


@pytest.mark.parametrize("restarts", [False, True], ids=["reloaded", "restarted"])
@pytest.mark.parametrize("before", ["", RULES], ids=["the first rule", "another rule"])
async def test_what_was_marked_before_a_rule_came_is_no_news_for_it(tmp_path, before, restarts):
    shop = Account(tmp_path, before or PLAIN)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    early, late = (
        shop.sim.add("myshop.com", session([("/", 5), ("/cart", 5)]), start=n) for n in range(2)
    )
    await polled(shop, 60)
    await shop.sender.send(star(shop.site.id, early))
    shop.rules = (*shop.rules, *rules(NEW).rules)
    if restarts:
        shop.restart()
    await polled(shop, 3)
    await shop.sender.send(star(shop.site.id, late))
    await polled(shop, 70)
    assert {who for rule, who in shop.matched() if rule == "late"} == {late}
    assert not before or {("starred", early), ("starred", late)} <= shop.matched()
    shop.close()


CARTED = """
carted:
  watch: recordings
  when: {starred: true, saw_page: /cart}
  do: {tag: carted}
"""
STARRED = """
starred:
  watch: recordings
  when: {starred: true}
  do: {tag: starred}
"""
STARRED_FIRST = """
starred-first:
  watch: recordings
  when: {starred: true, visitor_type: first}
  do: {tag: starred-first}
"""
FIRST = """
first:
  watch: recordings
  when: {visitor_type: first}
  do: {tag: first}
"""


async def starred_after_its_end(tmp_path):
    """A session in the cart that has ended an hour ago, and that somebody has just starred."""
    shop = Account(tmp_path, CARTED, expand=False)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5), ("/cart", 5)]), start=0)
    await polled(shop, 60)
    await shop.sender.send(star(shop.site.id, who))
    return shop, who


BRIEF = """
brief:
  watch: recordings
  when: {duration: {under: 1m}}
  do: {tag: brief}
"""


async def test_a_mark_whose_detail_is_away_makes_no_session_live_again(tmp_path):
    """A rule that came after the session had ended does not decide it once the detail is back."""
    shop, who = await starred_after_its_end(tmp_path)
    shop.sim.fail("status", status=500, path=f"/recordings/{who}", times=1000)
    shop.rules = (*shop.rules, *rules(BRIEF).rules)
    await polled(shop, 10)
    shop.sim.faults.clear()
    await polled(shop, 70)
    assert shop.matched() == {("carted", who)}
    shop.close()


async def test_a_mark_whose_detail_is_away_stays_old_for_a_rule_that_comes_meanwhile(tmp_path):
    shop = Account(tmp_path, CARTED, expand=False)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    early, late = (
        shop.sim.add("myshop.com", session([("/", 5), ("/cart", 5)]), start=n) for n in range(2)
    )
    await polled(shop, 60)
    await shop.sender.send(star(shop.site.id, early))
    shop.sim.fail("status", status=500, path=f"/recordings/{early}", times=1000)
    shop.rules = (*shop.rules, *rules(STARRED).rules)
    await polled(shop, 10)
    shop.restart()
    await shop.sender.send(star(shop.site.id, late))
    await polled(shop, 10)
    shop.sim.faults.clear()
    await polled(shop, 70)
    assert shop.matched() == {("carted", early), ("carted", late), ("starred", late)}
    shop.close()


async def test_what_was_marked_before_a_restart_is_no_news_for_a_rule_edited_with_it(tmp_path):
    shop = Account(tmp_path, STARRED)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    early, late = (shop.sim.add("myshop.com", session([("/", 5)]), start=n) for n in range(2))
    await polled(shop, 60)
    await shop.sender.send(tag(shop.site.id, early, "vip"))
    shop.rules = rules(STARRED.replace("starred: true", "tags: vip")).rules
    shop.restart()
    await polled(shop, 10)
    await shop.sender.send(tag(shop.site.id, late, "vip"))
    await polled(shop, 70)
    assert shop.matched() == {("starred", late)}
    shop.close()


class NotFound:
    """Answers once that there is no such recording, though the lists have it."""

    def __init__(self, real, who: str) -> None:
        self.real, self.who = real, who

    async def send(self, request):
        if request.path.endswith(f"/{self.who}"):
            self.who = "-"
            raise Gone("no such recording (404)")
        return await self.real.send(request)


async def test_a_mark_whose_detail_is_not_found_makes_no_new_session_of_it(tmp_path):
    """Else a rule that came after the session had ended would decide it."""
    shop, who = await starred_after_its_end(tmp_path)
    shop.sender = NotFound(shop.sender, who)
    shop.rules = (*shop.rules, *rules(BRIEF).rules)
    await polled(shop, 20)
    assert shop.matched() == {("carted", who)}
    shop.close()


async def test_a_mark_counts_at_once_for_a_rule_that_needs_no_detail(tmp_path):
    """Another rule's detail is away for longer than marks count, also for live sessions."""
    shop = Account(tmp_path, CARTED + STARRED, expand=False)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5), ("/cart", 5)]), start=0)
    await polled(shop, 60)
    await shop.sender.send(star(shop.site.id, who))
    shop.sim.fail("status", status=500, path="/recordings/", times=100_000)
    shop.sim.add("myshop.com", session([("/", 5), ("/cart", 5)]), start=3600)
    await polled(shop, 10)
    assert shop.matched() == {("starred", who)}
    shop.sim.faults.clear()
    await polled(shop, 70)
    assert shop.matched() == {("starred", who), ("carted", who)}
    shop.close()


async def test_a_filter_that_fails_meanwhile_brings_no_rule_what_ended_before_it_came(tmp_path):
    """Of what is marked while the filter fails, only rules about marks catch up."""
    shop = Account(tmp_path, STARRED + STARRED_FIRST, expand=False)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 60)
    shop.rules = (*shop.rules, *rules(FIRST).rules)
    later = shop.sim.add("myshop.com", session([("/", 5)]), start=3600)
    working, shop.sender = shop.sender, Failing(shop.sender, "visitortype", GiveUp("no"))
    await polled(shop, 50)
    await working.send(star(shop.site.id, who))
    await polled(shop, 10)
    shop.sender = working
    await polled(shop, 70)
    assert shop.matched() == {("starred", who), ("starred-first", who), ("first", later)}
    shop.close()


async def test_a_mark_taken_back_while_its_detail_is_away_is_news_when_it_is_set_again(tmp_path):
    shop, who = await starred_after_its_end(tmp_path)
    shop.sim.fail("status", status=500, path=f"/recordings/{who}", times=1000)
    shop.rules = (*shop.rules, *rules(STARRED).rules)
    await polled(shop, 10)
    shop.sim.faults.clear()
    await shop.sender.send(unstar(shop.site.id, who))
    await polled(shop, 130)
    assert shop.matched() == set()
    await shop.sender.send(star(shop.site.id, who))
    await polled(shop, 70)
    assert shop.matched() == {("carted", who), ("starred", who)}
    shop.close()


UNTAGGED = """
untagged:
  watch: recordings
  when: {tags: {not: internal}}
  do: {tag: untagged}
"""


@pytest.mark.parametrize("marks", ["star", "the bot's tag", "tag"])
async def test_a_mark_that_a_rule_does_not_read_is_no_news_for_it(tmp_path, marks):
    """It came after the session had ended. Only what it reads itself lets it decide."""
    shop = Account(tmp_path, STARRED)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 60)
    shop.rules = (*shop.rules, *rules(UNTAGGED).rules)
    await polled(shop, 10)
    act = {
        "star": star(shop.site.id, who),
        "the bot's tag": tag(shop.site.id, who, "starred"),
        "tag": tag(shop.site.id, who, "vip"),
    }
    await shop.sender.send(act[marks])
    await polled(shop, 70)
    found = {"star": {("starred", who)}, "tag": {("untagged", who)}}
    assert shop.matched() == found.get(marks, set())
    shop.close()


async def test_a_rule_that_does_something_else_now_still_hears_of_marks(shop):
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 60)
    await shop.sender.send(star(shop.site.id, who))
    text = RULES.replace("slack: {}", "tag: a").replace("starred:", "star:\n  was: starred", 1)
    shop.rules = rules(text).rules
    await polled(shop, 7)
    assert ("star", who) in shop.matched()


NAMED = """
vip:
  watch: recordings
  when: {visitor_name: Ada*}
  do: {tag: vip}
"""


async def test_a_visitor_who_is_named_after_the_session_had_ended_counts(tmp_path):
    shop = Account(tmp_path, NAMED)
    shop.marks = timedelta(hours=24)
    named, _other = (
        shop.sim.add("myshop.com", session([("/", 5)], visitor=Visitor(name=name)), start=0)
        for name in ("Ada Lovelace", "Grace Hopper")
    )
    send, unnamed = shop.sender.send, True

    async def unnamed_first(request):
        return without_names(await send(request)) if unnamed else await send(request)

    shop.sender.send = unnamed_first
    await polled(shop, 120, every=5)
    assert shop.matched() == set()
    unnamed = False
    await polled(shop, 65, every=5)
    assert shop.matched() == {("vip", named)}
    shop.close()


def without_names(answer):
    """The answer with no visitor named yet."""
    if isinstance(answer, RecordingPage):
        rows = tuple(map(without_names, answer.recordings))
        return replace(answer, recordings=rows)
    return replace(answer, visitor_name=None)


class Lacking:
    """Lists that lack a recording while `away`, as those of a server that lags behind do."""

    def __init__(self, real, who: str) -> None:
        self.real, self.who, self.away = real, who, True

    async def send(self, request):
        answer = await self.real.send(request)
        if not self.away or not isinstance(answer, RecordingPage):
            return answer
        rest = tuple(row for row in answer.recordings if row.id != self.who)
        return replace(answer, recordings=rest, count=len(rest))


async def test_a_recording_that_a_list_lacked_is_decided_no_second_time(tmp_path):
    """A rule that came after its end has no say, and what was marked meanwhile is still new."""
    shop = Account(tmp_path, STARRED)
    shop.marks = timedelta(hours=24)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5)]), start=0)
    await polled(shop, 60)
    shop.rules = (*shop.rules, *rules(BRIEF).rules)
    await polled(shop, 10)
    await shop.sender.send(star(shop.site.id, who))
    shop.sender = Lacking(shop.sender, who)
    await polled(shop, 2)
    assert shop.matched() == set()
    shop.sender.away = False
    await polled(shop, 70)
    assert shop.matched() == {("starred", who)}
    shop.close()

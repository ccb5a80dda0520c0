"""What polls promise about live sessions: what was learnt early stays right to the end."""

from datetime import timedelta

import msgspec
import pytest
from poll_world import Account

from mouseflow import recordings
from mouseflow.models import Recording, RecordingPage
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor

# An open rule has the page views read while the session is live.
OPEN = """
nowhere:
  watch: recordings
  when: {saw_page: /nowhere*}
  do: {tag: nowhere}
"""
BROWSED = [("/", 20), ("/cart", 20), ("/products/runner-3", 20)]


@pytest.fixture
def account(tmp_path):
    opened = []

    def make(text, others=OPEN):
        opened.append(Account(tmp_path, others + text))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


async def visited(shop: Account, visitor: Visitor | None = None) -> str:
    """A session of a minute, watched until five minutes after it."""
    await shop.poll()
    who = shop.sim.add("myshop.com", session(BROWSED, visitor=visitor), start=1)
    await watch(shop, minutes=6)
    return who


async def watch(shop: Account, *, minutes: int) -> None:
    for _ in range(minutes):
        shop.wait(minutes=1)
        await shop.poll()


BY_REGION = """
of-berlin:
  watch: recordings
  when: {region: Berlin, duration: {under: 1h}}
  do: {tag: berlin}
elsewhere:
  watch: recordings
  when: {duration: {under: 1h}}
  except: {region: Berlin}
  do: {tag: elsewhere}
"""


async def test_the_region_that_a_detail_told_is_known_at_the_end(account):
    shop = account(BY_REGION)
    who = await visited(shop, Visitor(region="Berlin"))
    await watch(shop, minutes=40)
    assert shop.matched() == {("of-berlin", who)}


@pytest.mark.parametrize(
    ("rule", "mark"),
    [("starred: true", recordings.star), ("watched: true", recordings.watch),
     ("shared: true", recordings.share)],
)  # fmt: skip
@pytest.mark.parametrize(
    ("others", "more"),
    [(OPEN, "saw_page: /cart*"), ("", "duration: {under: 1h}")],
    ids=["by its detail", "by its row alone"],
)
async def test_what_people_mark_after_the_last_activity_counts(account, others, more, rule, mark):
    shop = account(
        f"""
marked:
  watch: recordings
  when: {{{more}, {rule}}}
  do: {{tag: marked}}
""",
        others,
    )
    who = await visited(shop)
    await shop.sender.send(mark(shop.site.id, who))
    await watch(shop, minutes=40)
    assert ("marked", who) in shop.matched()


class LateTags:
    """The session's own tags are there only some time after its last activity."""

    def __init__(self, shop: Account, since: timedelta) -> None:
        self.real, self.shop, self.there = shop.sender, shop, shop.now + since

    async def send(self, request):
        answer = await self.real.send(request)
        if isinstance(answer, RecordingPage):
            return msgspec.structs.replace(
                answer, recordings=tuple(map(self._tagged, answer.recordings))
            )
        return self._tagged(answer) if isinstance(answer, Recording) else answer

    def _tagged(self, recording: Recording) -> Recording:
        tags = ("submit",) if self.shop.now >= self.there else ()
        return msgspec.structs.replace(recording, tags=tags)


async def test_tags_of_the_session_that_only_its_last_detail_told_are_known_at_the_end(account):
    shop = account("""
submitted:
  watch: recordings
  when: {tags: submit, duration: {under: 1h}}
  do: {tag: submitted}
""")
    shop.sender = LateTags(shop, timedelta(minutes=1, seconds=90))
    who = await visited(shop)
    await watch(shop, minutes=40)
    assert ("submitted", who) in shop.matched()


async def test_whether_the_visitor_came_back_is_asked_once_up_to_the_end(account):
    shop = account("""
regulars:
  watch: recordings
  when: {visitor_type: returning, friction: {min: 2.5}}
  do: {tag: regular}
patient:
  watch: recordings
  when: {visitor_type: first, pages: {min: 40}}
  do: {tag: patient}
""")
    await shop.poll()
    shop.sim.add("myshop.com", session(BROWSED, [(30, "click-rage")]), start=1)
    await watch(shop, minutes=50)
    asked = [call.query for call in shop.sim.calls if "visitortype" in call.query]
    assert len(asked) == 3  # the question, and the two calls that check the filter


class LatePageTags:
    """Tags of pages are there only some time after the activity."""

    def __init__(self, shop: Account, since: timedelta) -> None:
        self.real, self.shop, self.there = shop.sender, shop, shop.now + since

    async def send(self, request):
        answer = await self.real.send(request)
        if isinstance(answer, RecordingPage):
            return msgspec.structs.replace(
                answer, recordings=tuple(map(self._told, answer.recordings))
            )
        return self._told(answer) if isinstance(answer, Recording) else answer

    def _told(self, recording: Recording) -> Recording:
        if recording.page_views is None or self.shop.now >= self.there:
            return recording
        bare = tuple(msgspec.structs.replace(view, tags=()) for view in recording.page_views)
        return msgspec.structs.replace(recording, page_views=bare)


async def test_where_lists_tell_page_views_late_tags_fire_a_rule_before_the_end(account):
    shop = account("""
dead:
  watch: recordings
  when: {page: {path: /cart*, tags: dead-click}}
  do: {tag: dead}
high:
  watch: recordings
  when: {friction: {min: 10}}
  do: {tag: high}
""")
    for start in range(-300, -180, 10):  # they show that lists tell what details tell
        shop.sim.add("myshop.com", "rage-on-product", start=start)
    await shop.poll()
    for _ in range(2):  # then the list itself is asked for without page views again
        shop.wait(hours=2)
        await shop.poll()
    who = shop.sim.add("myshop.com", session(BROWSED, [(30, "dead-click")]), start=1)
    shop.sender = LatePageTags(shop, timedelta(minutes=2, seconds=1))
    await watch(shop, minutes=6)
    assert ("dead", who) in shop.matched()


class LateFriction:
    """Counts no friction until it is told to, as a server that computes it late."""

    def __init__(self, real) -> None:
        self.real, self.counted = real, False

    async def send(self, request):
        answer = await self.real.send(request)
        asks = any(name == "frictionmin" for name, _ in request.query)
        if asks and not self.counted and isinstance(answer, RecordingPage):
            return msgspec.structs.replace(answer, recordings=(), count=0)
        return answer


@pytest.mark.parametrize("late", [1, 2, 3, 5, 20, 30, 34])
async def test_friction_may_be_counted_until_the_session_has_ended(account, late):
    shop = account("""
cross:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {tag: a}
short:
  watch: recordings
  when: {friction: {min: 2.5}, duration: {under: 10m}}
  do: {tag: b}
""")
    shop.sender = LateFriction(shop.sender)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 60)], [(30, "click-rage")]), start=0)
    shop.wait(minutes=1)
    await shop.poll()
    for minute in range(1, 41):
        shop.sender.counted = minute >= late
        shop.wait(minutes=1)
        await shop.poll()
    assert shop.matched() == {("cross", who), ("short", who)}
    asked = sum("frictionmin" in call.query for call in shop.sim.calls)
    assert asked <= 8


@pytest.mark.parametrize("restart", [False, True])
async def test_a_session_that_the_bot_deletes_while_it_goes_on_has_no_end(account, restart):
    shop = account("""
waste:
  watch: recordings
  when: {entry_page: /}
  do: {delete: true}
short:
  watch: recordings
  when: {duration: {under: 3m}}
  do: {slack: {}}
""")
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 60), ("/cart", 300)]), start=1)
    await watch(shop, minutes=1)
    assert shop.delete_due() == who
    if restart:
        shop.restart()
    await watch(shop, minutes=45)
    assert shop.matched() == {("waste", who)}

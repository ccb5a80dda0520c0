"""What a replay promises: every match found, nothing twice, few calls, flat memory, resumable."""

import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from replay_world import NOW, CutOff, World, busy

from bot.errors import StoreError, TryLater
from bot.replay.evaluate_days import lacking
from bot.replay.record import Line, Tally, remarks, table
from bot.replay.run import Folder, Progress
from mouseflow.simulator.quirks import Quirks

RULES = """
friction:
  watch: recordings
  when: {friction: {min: 2.5}, saw_page: /checkout*}
  do: {tag: friction, slack: {at_most: 3 per hour}}
bad:
  watch: recordings
  when: {friction: {min: 5}}
  do: {star: true}
regulars:
  watch: recordings
  when: {visitor_type: returning, duration: {over: 60s}}
  do: {slack: {}}
not-found:
  watch: recordings
  when: {tags: "404"}
  do: {tag: lost}
short:
  watch: recordings
  when: {pages: {max: 1}}
  do: {tag: bounce}
"""


MORNINGS = """
paths:
  watch: recordings
  when: {saw_page: /checkout*, hour: {under: 14}}
  do: {tag: paths}
"""


@pytest.fixture
def world(tmp_path):
    opened = []

    def make(text=RULES, **options):
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(World(folder, text, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def lists(targets, *parts):
    """The calls for lists of recordings that have all of these in their query, no mere counts."""
    return [
        it
        for it in targets
        if "/recordings?" in it
        and all(part in it for part in parts)
        and not re.search(r"limit=1(&|$)", it)
    ]


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(),
        Quirks(sort="created"),
        Quirks(offset="ignored", row_cap=40),
        Quirks(row_cap=40),
        Quirks(reversed_rows=True),
        Quirks(time_zone="Pacific/Kiritimati"),
        Quirks(time_zone="Pacific/Midway"),
        Quirks(expand=False),
        Quirks(tagless_expansion=True),
        Quirks(tagless_expansion=True, row_cap=40),
    ],
    ids=["usual", "by start", "no offset", "small pages", "upside down", "far east", "far west",
         "no page views", "page views without tags", "the same in small pages"],
)  # fmt: skip
async def test_every_match_of_the_past_is_found_and_no_other(world, quirks):
    shop = world(quirks=quirks)
    progress = await shop.replay()
    wide = replace(quirks, row_cap=10_000)
    shop.sim.world.quirks = wide
    ids = await shop.ids()
    assert shop.matched() == await shop.truth(ids)
    assert {rule for rule, _ in shop.matched()} == {rule.id for rule in shop.rules.rules}
    assert progress.tally.missed == 0
    assert progress.tally.read == len(ids) > 100


async def test_each_question_is_asked_once_a_day_and_details_only_where_a_rule_depends_on_them(
    world,
):
    shop = world()
    await shop.replay()
    sent = shop.sender.sent
    asked = Counter(
        (re.search(r"fromdate=([\d-]+)", it)[1], re.search(r"frictionmin=([\d.]+)", it)[1])
        for it in lists(sent, "frictionmin=", "todate=")
        if "frictionmin=1000000000" not in it
    )
    assert set(asked.values()) == {1}
    assert len(asked) == 6  # two thresholds on each of three days that have recordings
    assert len(lists(sent, "visitortype=", "limit=10000")) == 3
    details = [it for it in sent if re.search(r"/recordings/\w+$", it)]
    assert len(details) == len(set(details))
    known = set(await shop.ids())
    assert 0 < len(details) < len(known)


@pytest.mark.parametrize(
    ("per_day", "days"), [(150, 2), (300, 6)], ids=["from the top", "anywhere"]
)
async def test_page_views_of_many_come_in_one_list_where_the_server_gives_them(
    world, per_day, days
):
    shop = world(MORNINGS, site=busy(per_day))
    progress = await shop.replay(days)
    expanded = lists(shop.sender.sent, "expand=true")
    assert any("offset=" in it for it in expanded) == (days > 2)
    assert progress.tally.details < 10 < progress.tally.read / 20
    assert shop.matched() == await shop.truth(await shop.ids(days))


async def test_a_question_is_asked_once_a_day_also_where_a_day_has_many_pages(world):
    shop = world(quirks=Quirks(row_cap=40))
    await shop.replay()
    for question in ("visitortype=", "frictionmin="):
        # A list that the server cuts off is looked at once more in the end.
        assert set(Counter(lists(shop.sender.sent, question)).values()) <= {1, 2}


async def test_a_replay_again_finds_the_same_and_acts_on_nothing_twice(world):
    shop = world(quirks=Quirks(expand=False))
    first = await shop.replay()
    before = shop.matched()
    steps = shop.steps()
    again = await shop.replay()
    assert shop.matched() == before
    assert shop.steps() == steps
    for rule in first.rules:
        assert (again.tally.total(rule).new, again.tally.total(rule).known) == (
            0,
            first.tally.total(rule).new,
        )
    # What is known needs no detail any more.
    assert again.tally.details < first.tally.details


async def test_one_that_is_cut_off_anywhere_goes_on_to_the_same_end(world):
    whole = world()
    wanted = await whole.replay()
    calls = len(whole.sender.sent)
    for at in range(4, calls, max(1, calls // 7)):
        shop = world()
        shop.sender.fail_at = at
        with pytest.raises(CutOff):
            await shop.replay()
        kept = msgspec.json.decode(shop.kept[-1], type=Progress) if shop.kept else None
        done = await shop.replay(progress=kept)
        assert shop.matched() == whole.matched()
        for rule in wanted.rules:
            assert done.tally.total(rule).matches == wanted.tally.total(rule).matches
        assert done.tally.read == wanted.tally.read


async def test_an_outage_ends_it_and_what_is_kept_is_whole_days(world):
    shop = world()
    shop.sim.fail("status", status=503, times=9999, skip=25)
    with pytest.raises(TryLater):
        await shop.replay()
    shop.sim.faults.clear()
    done = await shop.replay(progress=msgspec.json.decode(shop.kept[-1], type=Progress))
    assert shop.matched() == await shop.truth(await shop.ids())
    assert len(done.done) == len(set(done.done)) == 5


async def test_where_the_friction_filter_is_ignored_its_rules_are_held_and_that_is_said(world):
    shop = world(quirks=Quirks(ignored_filters=frozenset({"frictionmin"})))
    progress = await shop.replay()
    truth = await shop.truth(await shop.ids())
    assert shop.matched() == {each for each in truth if each[0] not in ("friction", "bad")}
    assert any("myshop.com: the filter fails there" in it for it in remarks(progress.tally))


async def test_rows_that_cannot_be_read_are_counted_and_said(world):
    shop = world(quirks=Quirks(offset="ignored", row_cap=1))
    progress = await shop.replay(days=0.3)
    assert progress.tally.missed > 0
    assert f"{progress.tally.missed} recordings could not be read" in remarks(progress.tally)


async def test_visitors_who_come_meanwhile_are_not_missed(world):
    shop = world()
    ids = await shop.ids(days=0.9)
    shop.sim.behave(row_cap=40)

    def come():
        shop.sim.add("myshop.com", "checkout-friction", start=0)

    shop.sender.between = come
    progress = await shop.replay(days=0.9)
    assert (progress.tally.missed, progress.tally.read) == (0, len(ids))
    assert (lacking(3, None, 10), lacking(3, 10, 10), lacking(3, 12, 10)) == (3, 0, 2)


async def test_a_session_that_goes_on_matches_only_rules_that_stay_true(world):
    shop = world(site=busy(0))
    late = shop.sim.add("myshop.com", "phone-bounce", start=-300)
    final = shop.sim.add("myshop.com", "phone-bounce", start=-3600)
    await shop.replay()
    assert shop.matched() == {("short", final)}
    assert late != final


async def test_count_and_once_per_see_the_past_in_its_order(world):
    shop = world(
        """
surge:
  watch: recordings
  when: {pages: {max: 1}}
  count: {at_least: 3, within: 10m, by: website}
  do: {slack: {}}
once:
  watch: recordings
  when: {pages: {max: 1}}
  once_per: {country: 1h}
  do: {tag: seen}
""",
        site=busy(0),
    )
    starts = [-90_000, -50_000, -49_900, -49_800, -20_000, -10_000, -9_000]
    ids = [shop.sim.add("myshop.com", "phone-bounce", start=start) for start in starts]
    progress = await shop.replay(live=True)
    tally = progress.tally
    acted = {(rule, key) for rule, key, actions in shop.steps() if actions}
    assert acted == {("surge", ids[3]), *(("once", ids[n]) for n in (0, 1, 4, 5))}
    assert tally.total("surge").held == {"count: not enough yet": 6}
    assert sum(tally.total("once").held.values()) == 3


async def test_old_matches_come_to_a_digest_and_new_ones_to_as_many_posts_as_are_allowed(world):
    shop = world(
        """
lost:
  watch: recordings
  when: {pages: {max: 1}}
  do: {slack: {at_most: 3 per hour}}
""",
        site=busy(0),
    )
    for start in (-100_000, -90_000, -80_000, *range(-10_000, -5_000, 1_000)):
        shop.sim.add("myshop.com", "phone-bounce", start=start)
    progress = await shop.replay()
    line = progress.tally.total("lost")
    # Older than six hours: one digest of three. Of five others three go out alone.
    assert (line.new, line.posts, line.folded, line.digests) == (8, 3, 5, 2)


async def test_a_safety_pauses_its_own_rule_alone(world):
    shop = world(
        """
shy:
  watch: recordings
  when: {pages: {max: 1}}
  safety: {at_most: 4 per hour}
  do: {tag: shy}
bold:
  watch: recordings
  when: {pages: {max: 1}}
  do: {tag: bold}
""",
        site=busy(0),
    )
    for start in (-9_000, -8_000, *range(-3_500, -2_300, 150)):
        shop.sim.add("myshop.com", "phone-bounce", start=start)
    tally = (await shop.replay()).tally
    # What happened before its window is no flood.
    assert tally.total("shy").steps == {"tag": 6}
    assert tally.total("bold").steps == {"tag": 10}
    assert list(tally.paused) == ["shy"]


@pytest.mark.parametrize("days", [0.125, 4.1])
async def test_progress_counts_the_recordings_of_the_span_and_expects_as_many(world, days):
    shop = world()
    progress = await shop.replay(days)
    counted = 0
    for read, expected in shop.told:
        counted += read
        assert expected >= counted
    assert counted == expected == progress.tally.read > 0
    # The first guess is of the span, too, and not of all its days.
    assert 0.3 < shop.told[0][1] / counted < 3


async def test_the_table_adds_up(world):
    progress = await world().replay()
    rows = table(progress.tally, progress.rules)
    for rule in progress.rules:
        days = [row for row in rows if row[0] == rule and row[1] != "all"]
        (whole,) = [row for row in rows if row[0] == rule and row[1] == "all"]
        for column in range(2, len(whole)):
            assert sum(int(row[column]) for row in days) == int(whole[column])


def test_a_column_of_nothing_but_0_is_left_out():
    tally = Tally()
    tally.lines = {
        "one": {NOW.date(): Line(known=2)},
        "two": {NOW.date(): Line(known=1, digests=1)},
    }
    assert table(tally, ["one", "two", "three"]) == [
        ("rule", "day", "matches", "known", "digests"),
        ("one", f"{NOW:%F}", "2", "2", "0"),
        ("two", f"{NOW:%F}", "1", "1", "1"),
        ("three", "all", "0", "0", "0"),
    ]


def test_the_folder_of_a_replay_keeps_the_last_whole_state_and_nothing_after_it(tmp_path):
    folder = Folder(tmp_path / "bot.db")
    assert folder.load() is None
    folder.begin()
    progress = Progress(
        since=NOW - timedelta(days=1), until=NOW, apply=False, rules=("a",), websites=(),
        digest="x", now=NOW,
    )  # fmt: skip
    folder.save(progress)
    progress.tally.line("a", NOW.date()).new = 3
    progress.done.append("w/2026-03-01")
    folder.save(progress)
    assert folder.load() == progress
    (folder.path / "progress.json").write_text("{")
    with pytest.raises(StoreError, match="start a new replay without --resume"):
        folder.load()
    folder.clear()
    assert list(tmp_path.iterdir()) == []


MIXED = """
plain:
  watch: recordings
  when: {pages: {max: 3}}
  do: {tag: few}
once:
  watch: recordings
  when: {pages: {max: 3}}
  once_per: {country: 1h}
  do: {tag: once, slack: {at_most: 2 per hour}}
safe:
  watch: recordings
  when: {pages: {max: 3}}
  safety: {at_most: 2 per hour}
  do: {star: true}
"""


async def test_rules_with_and_without_a_memory_do_not_disturb_each_other(world):
    """They are written down in another order, and counted as if each stood alone."""
    together = await world(MIXED).replay(live=True)
    for name, text in _one_by_one(MIXED):
        alone = await world(text).replay(live=True)
        assert together.tally.total(name) == alone.tally.total(name), name
        assert together.tally.lines[name] == alone.tally.lines[name]
    assert together.tally.total("plain").new > together.tally.total("once").writes > 0
    assert "safe" in together.tally.paused


def _one_by_one(text):
    for part in re.split(r"\n(?=\w)", text.strip()):
        yield part.partition(":")[0], part + "\n"

"""A long list is read to its end where the server allows it, and where not, it is said."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mouseflow import paging, recordings
from mouseflow.decode import Unreadable
from mouseflow.errors import TooLarge
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording, RecordingPage

FIRST = date(2026, 3, 1)
WEEK = SessionFilters(fromdate=FIRST, todate=FIRST + timedelta(days=7))


@dataclass(frozen=True)
class Session:
    id: str
    day: date
    duration: int
    device: str


@dataclass
class Server:
    """A list of sessions, newest first, with the abilities of a server."""

    sessions: list[Session]
    cap: int = 10_000
    offset: bool = False
    ignored: frozenset[str] = frozenset()
    exclusive: bool = False  # do duration bounds leave out their value?
    expand: bool = False
    broken: frozenset[str] = frozenset()
    queries: list[dict[str, str]] = field(default_factory=list)

    async def send(self, request):
        asked = dict(request.query)
        self.queries.append(asked)
        found = self._found(asked)
        start = int(asked.get("offset", "0")) if self.offset else 0
        rows = found[start : start + min(int(asked["limit"]), self.cap)]
        views = (PageView(id="v"),) if self.expand and asked.get("expand") == "true" else None
        return RecordingPage(
            recordings=tuple(
                Recording(id=one.id, page_views=views) for one in rows if one.id not in self.broken
            ),
            unreadable=tuple(
                Unreadable(one.id, index, "bad")
                for index, one in enumerate(rows)
                if one.id in self.broken
            ),
            chart={},
            count=len(found),
        )

    def _found(self, asked):
        edge = 1 if self.exclusive else 0
        tests = {  # each value is read once, not for each session
            "fromdate": (date.fromisoformat, lambda one, first: one.day >= first),
            "todate": (date.fromisoformat, lambda one, end: one.day < end),
            "visitmin": (int, lambda one, least: one.duration >= least + edge),
            "visitmax": (int, lambda one, most: one.duration <= most - edge),
            "device": (str, lambda one, device: one.device == device),
        }
        found = self.sessions
        for name in tests.keys() & asked.keys() - self.ignored:
            read, fits = tests[name]
            value = read(asked[name])
            found = [one for one in found if fits(one, value)]
        return found


def sessions(number, *, days=7, longest=600_000, devices=("desktop", "tablet", "phone")):
    """Sessions spread evenly over days, durations and devices."""
    return [
        Session(
            f"s{n}",
            FIRST + timedelta(days=n % days),
            n * 7919 % longest,
            devices[n % len(devices)],
        )
        for n in range(number)
    ]


async def everything(server, filters=WEEK, **options):
    parts = [part async for part in paging.read(server, "w", filters, **options)]
    ids = Counter(row.id for part in parts for row in part.recordings)
    return ids, sum(part.missed for part in parts), parts


def whole(server):
    return Counter({one.id: 1 for one in server.sessions})


async def test_a_short_list_costs_one_call():
    server = Server(sessions(30))
    assert await everything(server) == (whole(server), 0, [paging.Part(_rows(server))])
    assert len(server.queries) == 1


def _rows(server):
    return tuple(Recording(id=one.id) for one in server.sessions)


async def test_a_longer_list_is_read_by_a_larger_limit():
    server = Server(sessions(300))
    ids, missed, _parts = await everything(server, limit=50)
    assert (ids, missed) == (whole(server), 0)
    assert [query["limit"] for query in server.queries] == ["50", "310"]
    assert all("offset" not in query for query in server.queries)


async def test_an_offset_is_used_when_allowed_and_honoured():
    server = Server(sessions(1000), cap=100, offset=True)
    ids, missed, _parts = await everything(server, offset=True, limit=50)
    assert (ids, missed) == (whole(server), 0)
    assert all("device" not in query for query in server.queries)
    assert len(server.queries) <= 14


async def test_an_offset_is_not_sent_unless_allowed():
    server = Server(sessions(1000), cap=100, offset=True)
    await everything(server)
    assert all("offset" not in query for query in server.queries)


async def test_an_ignored_offset_is_noticed_once_and_the_window_is_split():
    server = Server(sessions(1000), cap=100)
    ids, missed, _parts = await everything(server, offset=True)
    assert (ids, missed) == (whole(server), 0)
    assert sum("offset" in query for query in server.queries) == 1


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_single_busy_day_is_split_by_duration(exclusive):
    server = Server(sessions(2000, days=1), cap=100, exclusive=exclusive)
    ids, missed, _parts = await everything(server, replace(WEEK, todate=FIRST + timedelta(days=1)))
    assert (ids, missed) == (whole(server), 0)


async def test_sessions_of_the_same_length_are_split_by_device():
    server = Server(sessions(240, days=1, longest=1), cap=100)
    ids, missed, _parts = await everything(server)
    assert (ids, missed) == (whole(server), 0)
    assert any("device" in query for query in server.queries)


async def test_what_can_not_be_read_is_counted_and_said():
    server = Server(sessions(500, days=1, longest=1, devices=("desktop",)), cap=100)
    ids, missed, parts = await everything(server)
    assert (sum(ids.values()), missed) == (100, 400)
    assert "400 recordings could not be read" in parts[-1].why
    assert "at most 100 rows" in parts[-1].why


@pytest.mark.parametrize(
    ("ignored", "most"),
    [({"visitmin", "visitmax"}, 60), ({"fromdate", "todate"}, 120), ({"device"}, 110)],
    ids=["durations", "dates", "device"],
)
async def test_an_ignored_filter_is_noticed_and_costs_few_calls(ignored, most):
    server = Server(sessions(3000), cap=100, ignored=frozenset(ignored))
    ids, missed, _parts = await everything(server)
    assert set(ids.values()) == {1}
    assert sum(ids.values()) + missed == 3000
    assert len(server.queries) < most


@pytest.mark.parametrize("ignored", ["visitmin", "visitmax", "fromdate", "todate"])
async def test_one_broken_split_does_not_end_the_others(ignored):
    server = Server(sessions(4200, days=31), cap=100, ignored=frozenset({ignored}))
    month = replace(WEEK, todate=FIRST + timedelta(days=31))
    ids, missed, _parts = await everything(server, month)
    assert (sum(ids.values()), missed) == (4200, 0)


async def test_an_answer_that_is_too_large_is_asked_for_in_smaller_parts():
    class Small(Server):
        async def send(self, request):
            if int(dict(request.query)["limit"]) > 300:
                self.queries.append({})
                raise TooLarge("the answer has more than 32 MB")
            return await super().send(request)

    server = Small(sessions(900), offset=True)
    ids, missed, _parts = await everything(server, offset=True)
    assert (sum(ids.values()), missed) == (900, 0)
    assert len(server.queries) < 12


async def test_a_server_that_ignores_everything_is_given_up_soon():
    every = {"fromdate", "todate", "visitmin", "visitmax", "device"}
    server = Server(sessions(3000), cap=100, ignored=frozenset(every))
    ids, missed, _parts = await everything(server, offset=True)
    assert (sum(ids.values()), missed) == (100, 2900)
    assert len(server.queries) < 15


async def test_the_number_of_calls_is_bounded():
    server = Server(sessions(5000), cap=1)
    ids, missed, _parts = await everything(server, most_calls=40)
    assert len(server.queries) <= 50
    assert sum(ids.values()) + missed == 5000


async def test_unreadable_rows_are_named_once_and_not_called_missed():
    server = Server(sessions(300), broken=frozenset({"s7", "s250"}))
    ids, missed, parts = await everything(server, limit=50)
    assert (sum(ids.values()), missed) == (298, 0)
    assert sorted(row.id for part in parts for row in part.unreadable) == ["s250", "s7"]


async def test_rows_that_arrive_meanwhile_hide_no_others():
    class Live(Server):
        async def send(self, request):
            new = Session(f"new{len(self.queries)}", FIRST, 5, "phone")
            self.sessions.insert(0, new)
            return await super().send(request)

    server = Live(sessions(1000), cap=100, offset=True)
    ids, _missed, _parts = await everything(server, offset=True)
    assert {f"s{n}" for n in range(1000)} <= set(ids)
    assert set(ids.values()) == {1}


async def test_a_live_session_that_outgrows_its_range_meanwhile_is_not_missed():
    class Growing(Server):
        async def send(self, request):
            if len(self.queries) == 12:  # too short for the ranges still to come, then in none
                grown = next(one for one in self.sessions if one.id == "s1")
                self.sessions.remove(grown)
                self.sessions.insert(0, replace(grown, duration=1))
            return await super().send(request)

    many = sessions(1000, days=1)
    many[1] = replace(many[1], duration=599_999)
    server = Growing(many, cap=100)
    ids, missed, _parts = await everything(server)
    assert (ids, missed) == (whole(server), 0)
    assert len(server.queries) > 12


@pytest.mark.parametrize("one_date", [{"fromdate": FIRST}, {"todate": FIRST}, {}])
async def test_a_window_without_both_dates_is_refused(one_date):
    with pytest.raises(ValueError, match="fromdate and todate"):
        await everything(Server([]), SessionFilters(**one_date))


@pytest.mark.parametrize("honoured", [True, False])
async def test_undocumented_arguments_are_probed(honoured):
    server = Server(sessions(10), offset=honoured, expand=honoured)
    assert await paging.probe_offset(server, "w", WEEK) is honoured
    assert await paging.probe_offset(Server(sessions(1)), "w", WEEK) is False


async def test_a_recording_that_arrives_meanwhile_does_not_hide_that_offset_is_honoured():
    class Busy(Server):
        async def send(self, request):
            answer = await super().send(request)
            if len(self.queries) == 1:
                self.sessions.insert(0, replace(self.sessions[0], id="new"))
            return answer

    assert await paging.probe_offset(Busy(sessions(10), offset=True), "w", WEEK) is True


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 90_000_000), max_size=120),
    days=st.integers(1, 9),
    cap=st.integers(2, 60),
    limit=st.integers(1, 60),
    offset=st.booleans(),
    honoured=st.booleans(),
    exclusive=st.booleans(),
)
async def test_each_recording_comes_once_or_is_counted_as_missed(
    lengths, days, cap, limit, offset, honoured, exclusive
):
    many = [
        Session(f"s{n}", FIRST + timedelta(days=n % days), length, "phone")
        for n, length in enumerate(lengths)
    ]
    server = Server(many, cap=cap, offset=honoured, exclusive=exclusive)
    window = replace(WEEK, todate=FIRST + timedelta(days=9))
    ids, missed, _parts = await everything(server, window, limit=limit, offset=offset)
    assert all(times == 1 for times in ids.values())
    assert len(ids) + missed == len(many)


@settings(deadline=None)
@given(
    low=st.none() | st.integers(0, 90_000_000),
    width=st.none() | st.integers(0, 90_000_000),
    duration=st.integers(0, 180_000_000),
    exclusive=st.booleans(),
)
def test_the_halves_of_a_range_of_durations_hold_what_the_whole_holds(
    low, width, duration, exclusive
):
    def span(number):
        return None if number is None else timedelta(milliseconds=number)

    high = None if width is None else (low or 0) + width
    piece = replace(WEEK, visitmin=span(low), visitmax=span(high))
    halves = paging.by_duration(piece)
    one = Session("s", FIRST, duration, "phone")

    def holds(filters):
        return bool(Server([one], exclusive=exclusive)._found(dict(filters.pairs())))

    if halves and holds(piece):
        assert any(holds(half) for half in halves)
    for half in halves:
        assert half != piece


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("duration", [29_999, 30_000, 30_001])
def test_a_session_just_between_two_ranges_is_in_one(duration, exclusive):
    one = Session("s", FIRST, duration, "phone")
    halves = paging.by_duration(WEEK)
    assert any(Server([one], exclusive=exclusive)._found(dict(h.pairs())) for h in halves)


@settings(deadline=None)
@given(days=st.integers(1, 400))
def test_the_halves_of_a_window_are_its_days(days):
    piece = replace(WEEK, todate=FIRST + timedelta(days=days))
    halves = paging.by_days(piece)
    if days == 1:
        assert halves == ()
        return
    first, second = halves
    assert (first.fromdate, second.todate) == (piece.fromdate, piece.todate)
    assert first.fromdate < first.todate == second.fromdate < second.todate


async def test_sessions_that_come_while_a_list_is_read_cost_one_more_call_and_no_search():
    server = Server(sessions(95), cap=20, offset=True)
    late = iter(sessions(100)[95:])
    real = server.send

    async def busy(request):
        answer = await real(request)
        if (one := next(late, None)) is not None:
            server.sessions.insert(0, one)
        return answer

    server.send = busy
    ids, missed, _parts = await everything(server, offset=True, limit=20)
    assert (ids, missed) == (whole(server), 0)
    assert not any("visitmin" in asked or "device" in asked for asked in server.queries)
    assert len(server.queries) <= 9


ROWS = b"""{"count": 7, "chart": {}, "recordings": [
  {"id": "a", "created": "2026-03-10T09:00:00Z", "lastActivity": "2026-03-10T09:05:00Z",
   "country": "dk", "pages": 3, "pageViews": [{"id": "v"}]},
  {"id": "b", "pages": 1, "pageViews": [{"id": "w"}]},
  {"id": 5},
  {"id": "c", "pages": []}
]}"""
GOOD = ROWS.replace(b"[]", b"1").replace(b'{"id": 5},', b"")


def test_of_a_long_answer_only_ids_and_times_may_be_kept():
    page = recordings.list("w", brief=True).read(GOOD)
    assert [(row.id, row.country, row.page_views) for row in page.recordings] == [
        ("a", None, None), ("b", None, None), ("c", None, None)]  # fmt: skip
    assert page.recordings[0].created == datetime(2026, 3, 10, 9, tzinfo=UTC)
    assert page.recordings[0].last_activity == datetime(2026, 3, 10, 9, 5, tzinfo=UTC)
    assert page.count == 7


def test_a_brief_reading_names_what_it_could_not_read_as_any_other():
    brief = recordings.list("w", brief=True).read(ROWS)
    assert brief.unreadable == recordings.list("w").read(ROWS).unreadable != ()


def test_of_a_long_answer_only_some_rows_may_be_kept():
    page = recordings.list("w", expand=True, only={"b", "d"}).read(ROWS)
    assert [(row.id, row.page_views) for row in page.recordings] == [("b", (PageView(id="w"),))]
    assert page.count == 7
    whole = recordings.list("w", expand=True).read(GOOD).recordings
    assert recordings.list("w", only={"a"}).read(GOOD).recordings == whole[:1]

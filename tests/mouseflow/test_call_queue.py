"""Which call goes next: actions first, then websites round robin, without starvation."""

import asyncio
from collections import defaultdict, deque

import pytest
from http_server import held, reply
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mouseflow import Priority, recordings, websites
from mouseflow.call_queue import MAX_SKIPS, QueuedCall, QueueHistory

ACTION, POLL, BACKGROUND = Priority
SITES = ["", "a", "b", "c", "d"]
LANES = st.tuples(st.sampled_from(list(Priority)), st.sampled_from(SITES))


class Line:
    """The line as plain lists: who waits, who went, and how long each had to wait."""

    def __init__(self):
        self.history, self.waiting, self.gone, self.number = QueueHistory(), [], [], 0
        self.came = {}

    def join(self, priority, website):
        call = QueuedCall(priority, website, self.number, self.history.gone)
        self.number += 1
        self.waiting.append(call)
        self.came[call] = len(self.gone)
        return call

    def go(self):
        call = self.history.next_of(self.waiting)
        self.waiting.remove(call)
        self.history = self.history.after(call, {each.priority for each in self.waiting})
        self.gone.append(call)
        return call

    def drain(self):
        while self.waiting:
            self.go()

    def meanwhile(self, call):
        """Those who went while that call waited."""
        return self.gone[self.came[call] : self.gone.index(call)]


def simulated(steps):
    """A line in which those of `steps` come, or go where it is None; all have gone in the end."""
    line = Line()
    for step in steps:
        if step is not None:
            line.join(*step)
        elif line.waiting:
            line.go()
    line.drain()
    return line


steps = st.lists(st.one_of(st.none(), LANES), max_size=80)


@given(steps)
def test_a_call_waits_for_one_call_of_each_website_before_it_in_line(steps):
    """For each call of its own website that came before it, that is; and for none that came later,
    as long as its own website has no other call in line."""
    line = simulated(steps)
    for call in line.gone:
        ahead = [it for it in line.meanwhile(call) if it.priority is call.priority]
        own = sum(it.website == call.website for it in ahead)
        for website in SITES:
            if website != call.website:
                theirs = [it for it in ahead if it.website == website]
                assert len(theirs) <= own + 1
                if own == 0:
                    assert all(it.number < call.number for it in theirs)


@given(steps)
def test_calls_of_one_website_and_kind_go_as_they_came(steps):
    lanes = defaultdict(list)
    for call in simulated(steps).gone:
        lanes[call.priority, call.website].append(call.number)
    assert all(numbers == sorted(numbers) for numbers in lanes.values())


@given(steps)
def test_no_kind_of_call_is_passed_over_for_long(steps):
    line = Line()
    passed = dict.fromkeys(Priority, 0)
    for step in [*steps, *[None] * len(steps)]:
        if step is not None:
            line.join(*step)
        elif line.waiting:
            there = {it.priority for it in line.waiting}
            went = line.go().priority
            for each in Priority:
                passed[each] = passed[each] + 1 if each in there and each is not went else 0
                # Beyond its own bound a class waits for one turn of each class above it.
                assert passed[each] <= MAX_SKIPS[each] + each


@given(steps)
def test_an_action_goes_first_and_waits_for_one_call_of_another_kind_at_most(steps):
    line = simulated(steps)
    for call in line.gone:
        if call.priority is ACTION:
            others = [it.priority for it in line.meanwhile(call)]
            assert "xx" not in "".join("a" if it is ACTION else "x" for it in others)


def shares(**lanes):
    """Out of 210 turns: how many each had, when all of these always wait."""
    line, taken = Line(), defaultdict(int)
    for priority, website in lanes.values():
        line.join(priority, website)
    names = {lane: name for name, lane in lanes.items()}
    for _ in range(210):
        call = line.go()
        taken[names[call.priority, call.website]] += 1
        line.join(call.priority, call.website)
    return dict(taken)


@pytest.mark.parametrize(
    ("lanes", "expected"),
    [
        ({"act": (ACTION, "a"), "poll": (POLL, "b")}, {"act": 168, "poll": 42}),
        ({"poll": (POLL, "a"), "rest": (BACKGROUND, "a")}, {"poll": 200, "rest": 10}),
        ({"x": (POLL, "a"), "y": (POLL, "b"), "z": (POLL, "c")}, {"x": 70, "y": 70, "z": 70}),
    ],
)
def test_what_each_gets_of_a_line_that_is_never_empty(lanes, expected):
    got = shares(**lanes)
    assert all(abs(got[name] - share) <= 1 for name, share in expected.items())


def test_a_newcomer_waits_for_one_of_thousands_of_calls_of_another_website():
    line = Line()
    for _ in range(5_000):
        line.join(POLL, "busy")
    line.go()
    newcomer = line.join(POLL, "quiet")
    assert newcomer in (line.go(), line.go())


def test_who_goes_on_is_not_held_up_by_ever_new_websites():
    line = Line()
    line.join(POLL, "a")
    line.go()
    following = line.join(POLL, "a")
    for number in range(100):
        line.join(POLL, f"new-{number}")
    assert line.go() is following


@given(st.lists(LANES, min_size=1, max_size=20), st.integers(1, 4))
def test_what_was_refused_goes_first_again_as_it_came(lanes, in_flight):
    line, same = Line(), Line()
    for lane in lanes:
        line.join(POLL, lane[1])
        same.join(POLL, lane[1])
    refused = [line.go() for _ in range(min(in_flight, len(lanes)))]
    for call in reversed(refused):
        line.waiting.append(replace(call, retried=True))
    again = [line.go() for _ in refused]
    assert [it.number for it in again] == sorted(it.number for it in refused)
    line.drain()
    same.drain()
    behind = len(refused)
    assert [it.number for it in line.gone[2 * behind :]] == [
        it.number for it in same.gone[behind:]
    ]  # fmt: skip


def test_a_request_knows_which_website_it_is_about():
    assert recordings.list("w1").website == "w1"
    assert websites.list().website == ""
    assert websites.reorder(["w1"]).website == ""


async def order_on_the_wire(wire, api, calls):
    """The websites in the order in which the server saw them, while one call held the line."""
    release = asyncio.Event()
    wire.answers.appendleft(held(release, reply()))
    first = asyncio.create_task(api.send(websites.list()))
    await wire.requests(1)
    tasks = [asyncio.create_task(api.send(call)) for call in calls]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(first, *tasks)
    return [got.target.split("/")[2] for got in wire.got[1:]]


async def test_websites_take_turns_on_the_wire(make, wire):
    wire.otherwise = reply(200, b'{"count": 0, "recordings": []}')
    calls = [*[recordings.list("busy")] * 4, recordings.list("b"), recordings.list("c")]
    order = await order_on_the_wire(wire, make(concurrency=1), calls)
    assert order == ["busy", "b", "c", "busy", "busy", "busy"]


async def test_after_a_429_the_order_is_kept(make, wire, time):
    wire.answers = deque([reply(429, Retry_After="20")])
    wire.otherwise = reply(200, b'{"count": 0, "recordings": []}')
    calls = [recordings.list(name) for name in "abcd"]

    async def sleep(seconds):
        await time.sleep(seconds)
        for _ in range(10):  # a pause is long: whoever has something to do has done it by then
            await asyncio.sleep(0)

    order = await order_on_the_wire(wire, make(concurrency=1, sleep=sleep), calls)
    assert order == ["a", "a", "b", "c", "d"]
    assert sum(time.slept) == pytest.approx(20, abs=1)

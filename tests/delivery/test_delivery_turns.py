"""Where more lanes have work than can be worked side by side, they take turns."""

from delivery_world import NOW, SITE, Post, Write, match, step, subject

from bot.delivery.worker import IN_A_ROW, LANES_AT_ONCE
from bot.store.digests import FOLD_AT_ONCE, QUEUE_BOUND


class Elsewhere(Write):
    """A write on another website, named in it."""

    kind = "write"
    website: str = ""

    def lane(self, subject, default_channel):
        return f"mouseflow:{self.website}"


def test_the_fakes_stand_for_many_websites():
    assert step(Elsewhere(name="a", website="w7"), "k").lane == "mouseflow:w7"
    assert subject("x").website is SITE


async def test_no_lane_waits_until_others_are_empty(bench):
    bench.actions = {**bench.actions, "write": Elsewhere}
    full = 2 * IN_A_ROW
    for number in range(LANES_AT_ONCE):
        actions = [Elsewhere(name=f"busy-{number}", website=f"busy-{number}")] * full
        bench.add(match(f"r{number}", *actions))
    bench.add(match("last", Elsewhere(name="last", website="quiet"), at=NOW))
    done = await bench.drain()
    assert done.done == LANES_AT_ONCE * full + 1
    assert bench.world.done.index("last") <= LANES_AT_ONCE * (IN_A_ROW + 1)


async def test_lanes_with_much_to_do_get_on_alike(bench):
    bench.actions = {**bench.actions, "write": Elsewhere}
    lanes = [f"w{number:02}" for number in range(LANES_AT_ONCE + 6)]
    for lane in lanes:
        bench.add(match(lane, *[Elsewhere(name=lane, website=lane)] * (4 * IN_A_ROW)))
    await bench.drain()
    half = bench.world.done[: len(bench.world.done) // 2]
    counts = [half.count(lane) for lane in lanes]
    assert min(counts) >= IN_A_ROW
    assert max(counts) <= 3 * IN_A_ROW


async def test_other_lanes_work_while_a_backlog_is_folded(bench):
    rounds = 3
    posts = (Post(name=f"post-{n}") for n in range(QUEUE_BOUND + rounds * FOLD_AT_ONCE))
    bench.add(*(match(f"r{n}", post) for n, post in enumerate(posts)))
    bench.add(match("last", Write(name="last")))
    folded = []

    async def look() -> None:
        count = "SELECT count(*) FROM steps WHERE state = 'folded'"
        folded.append(bench.store.do(lambda conn: conn.exec_driver_sql(count).scalar_one()))

    bench.world.fail("last", look)
    bench.world.fail("post-0", look)
    await bench.drain()
    write, post = folded
    assert write < post == rounds * FOLD_AT_ONCE
    digests = "SELECT count(*) FROM matches WHERE kind = 'digest'"
    assert bench.store.do(lambda conn: conn.exec_driver_sql(digests).scalar_one()) == 1

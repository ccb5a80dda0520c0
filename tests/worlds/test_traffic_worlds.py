"""In random worlds of traffic the bot notices what is unusual, as the docs say, and nothing else.

`SEED=17 python -m pytest tests/worlds/test_traffic_worlds.py` runs one world again.
"""

from traffic_worlds import TrafficWorld

IN_CI = (0, 1, 7, 8)


def test_traffic_is_judged_as_the_docs_say(seed, tmp_path, record_property):
    world = TrafficWorld(seed, tmp_path)
    world.run()
    for name, number in world.counted().items():
        record_property(name, number)
    assert not list(world.wrongs())

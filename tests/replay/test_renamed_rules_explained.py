"""What a rule did under its old name is explained under the new one."""

from test_replay_commands import Place, place

__all__ = ["place"]


def test_why_a_recording_matched_is_known_under_the_new_name(place: Place) -> None:
    who = place.sim.add("myshop.com", "phone-bounce", start=-3600)
    place.run("once")
    rules = place.rules.read_text()
    place.rules.write_text(rules.replace("  bounce:\n", "  quit:\n    was: bounce\n"))
    place.run("once")
    text = place.run("explain", "quit", who)
    assert "matched 20" in text
    assert "pages" in text.split("matched 20")[1].splitlines()[0]
    assert "  tag-1: done " in text

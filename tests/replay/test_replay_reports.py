"""A replay that is applied tells the same people as the daemon would."""

from test_replay_commands import Place, place

__all__ = ["place"]


def test_a_rule_that_a_replay_pauses_is_told_in_the_ops_channel(place: Place, monkeypatch) -> None:
    monkeypatch.setenv("BOT_SLACK__OPS_CHANNEL", "#ops")
    monkeypatch.setenv("BOT_POLL__START", "now")
    for start in range(-9000, -5000, 1000):
        place.sim.add("myshop.com", "phone-bounce", start=start)
    rules = place.rules.read_text()
    place.rules.write_text(
        rules.replace("  bounce:\n", "  bounce:\n    safety: {at_most: 2 per day}\n")
    )
    place.run("replay", "--since", "1d", "--rule", "bounce")
    place.run("once")
    assert place.sim.slack.in_channel("#ops") == []
    place.run("replay", "--since", "1d", "--rule", "bounce", "--apply")
    place.run("once")
    [told] = place.sim.slack.in_channel("#ops")
    assert "Rule bounce is paused" in told.text

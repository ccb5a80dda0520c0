"""`not_while`: while another rule's alert fires on the website, this rule's are not told."""

import pytest
from report_world import World

from bot.errors import RuleErrors
from bot.rules.files.load import read

PAIR = """
slow:
  watch: pages
  when: {render_time: {over: 4s}}
  resolved: true
  not_while: down
  do: {slack: {}}
down:
  watch: websites
  when: {status: Stopped}
  resolved: true
  do: {slack: {}}
"""


class Pair(World):
    """A page's rule that waits for a website's rule."""

    def __init__(self, text=PAIR) -> None:
        super().__init__("websites", text)
        self.set(slow=False, down=False)

    def set(self, *, slow: bool | None = None, down: bool | None = None) -> None:
        if slow is not None:
            self.api.pages["/boots"] = {"views": 900, "renderTime": 5000 if slow else 800}
        if down is not None:
            self.api.website["status"] = "Stopped" if down else "Recording"

    async def round(self) -> list[str]:
        """One round of polls: websites, then pages."""
        found = []
        for kind in ("websites", "pages"):
            self.kind = kind
            found += await self.looked(minutes=5)
        return found


async def test_an_alert_is_not_told_while_the_other_rules_alert_fires():
    world = Pair()
    await world.round()
    world.set(slow=True, down=True)
    assert await world.round() == ["down: slack"]
    assert await world.round() == []
    assert world.notes("suppressed") == ["not_while: down is firing"]


async def test_it_is_told_when_the_other_ends_and_this_still_fires():
    world = Pair()
    world.set(slow=True, down=True)
    await world.round()
    world.set(down=False)
    await world.round()
    assert await world.round() == ["down: resolved", "slow: slack"]
    world.set(slow=False)
    await world.round()
    assert await world.round() == ["slow: resolved"]


async def test_an_alert_that_ended_meanwhile_is_never_told():
    world = Pair()
    world.set(slow=True, down=True)
    await world.round()
    world.set(slow=False)
    await world.round()
    await world.round()
    world.set(down=False)
    assert [await world.round() for _ in range(3)] == [[], ["down: resolved"], []]


async def test_what_was_told_before_goes_on_and_its_end_is_told():
    world = Pair()
    world.set(slow=True)
    assert await world.round() == ["slow: slack"]
    world.set(down=True)
    assert await world.round() == ["down: slack"]
    world.set(slow=False)
    await world.round()
    assert await world.round() == ["slow: resolved"]


async def test_a_rule_that_waits_is_judged_after_those_that_it_waits_for():
    both = PAIR.replace("watch: websites", "watch: pages").replace(
        "status: Stopped", "render_time: {over: 2s}"
    )
    world = Pair(both)
    world.kind = "pages"
    world.set(slow=True)
    assert await world.looked() == ["down: slack"]
    world.edit(both.replace("over: 2s", "over: 9s"))
    assert await world.looked() == ["down: resolved", "slow: slack"]


async def test_it_waits_too_for_what_the_other_rule_waits_for():
    heavy = "heavy:\n  watch: pages\n  when: {views: {min: 1}}\n  not_while: [slow]\n"
    chain = f"{PAIR}{heavy}  do: {{slack: {{}}}}\n"
    world = Pair(chain)
    world.set(slow=True, down=True)
    assert await world.round() == ["down: slack"]  # slow fires, but nobody was told
    world.set(down=False)
    await world.round()
    assert await world.round() == ["down: resolved", "slow: slack"]
    assert await world.round() == []


async def test_a_rule_that_is_gone_holds_nothing_back():
    world = Pair()
    world.set(slow=True, down=True)
    await world.round()
    world.edit(PAIR.partition("down:\n")[0].replace("  not_while: down\n", ""))
    world.kind = "pages"
    assert await world.looked() == ["slow: slack"]


def faults(**edits):
    text = PAIR
    for old, new in edits.values():
        text = text.replace(old, new)
    body = "\n".join(f"  {line}" for line in text.strip("\n").splitlines())
    with pytest.raises(RuleErrors) as found:
        read([("r.yaml", f"version: 1\nrules:\n{body}\n".encode())])
    return [str(fault) for fault in found.value.faults]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("not_while: down", "not_while: dwon",
         "r.yaml:7:16: rules.slow.not_while: unknown rule; did you mean down?"),
        ("not_while: down", "not_while: [down, slow]",
         "r.yaml:7:23: rules.slow.not_while.1: slow waits for itself"),
        ("when: {status: Stopped}", "when: {status: Stopped}\n  not_while: slow",
         "r.yaml:7:16: rules.slow.not_while: these rules wait for each other: slow, down, slow"),
        ("watch: websites\n  when: {status: Stopped}\n  resolved: true",
         "watch: recordings\n  when: {tags: submit}",
         "r.yaml:7:16: rules.slow.not_while: down watches recordings, so it has no alert that "
         "could last"),
    ],
)  # fmt: skip
def test_a_name_that_can_hold_nothing_back_is_an_error(old, new, said):
    assert faults(edit=(old, new))[0] == said


def test_without_the_file_of_the_other_rule_the_rest_still_loads():
    """As at a start at which that file has errors."""
    body = PAIR.partition("down:\n")[0].strip("\n").replace("\n", "\n  ")
    file = ("r.yaml", f"version: 1\nrules:\n  {body}\n".encode())
    assert [rule.id for rule in read([file], whole=False).rules] == ["slow"]


async def test_nothing_waits_for_a_disabled_rule_whatever_a_poll_in_flight_has_left_of_it():
    world = Pair()
    before = world.rules
    world.edit(PAIR.replace("{status: Stopped}", "{status: Stopped}\n  disabled: true"))
    world.rules, after = before, world.rules
    world.set(slow=True, down=True)
    assert await world.looked() == ["down: slack"]
    world.rules = after
    assert await world.round() == ["slow: slack"]

"""Compares what became of a world's recordings with what the docs say of the actions of its rules.

Written from `docs/reference/actions.md`; what a rule matched is judged in `world_verdicts.py`.
"""

from collections.abc import Iterator
from typing import Any

from world_history import ACTIONS, REVIEW, History, Match, Recording
from world_verdicts import MINUTE, Difference


def undone(told: History) -> Iterator[Difference]:
    """Where a recording did not end as the actions of the rules that it matched say."""
    for rec in told.recordings.values():
        made = [it for it in told.matches if it.recording == rec.id and it.acted]
        for name, judge, bot in (*_unasked(told, rec, made), *_deleted(told, rec, made)):
            yield Difference("effect", told.seed, name, {}, rec.id, judge, bot)
        for it in made:
            if rule := _lasting(told, it):
                for judge, bot in _lacking(told, rec, it, rule["do"]):
                    yield Difference("effect", told.seed, it.rule, rule, rec.id, judge, bot)


def _lasting(told: History, it: Match) -> dict[str, Any] | None:
    """The rule that matched; None if it was edited since, which may take back what waits."""
    span = next((each for each in told.rules[it.rule] if each.at(it.at)), None)
    return None if span is None or span.end is not None else span.what


def _unasked(told: History, rec: Recording, made: list[Match]) -> Iterator[tuple[str, str, str]]:
    """What the bot did though no rule that the recording had matched by then asks for it."""
    for at, act, what in sorted(rec.by_bot, key=lambda each: each[0]):
        asked = {
            action
            for it in made
            if it.at <= at
            for span in told.rules[it.rule]
            for action in span.what["do"]
        }
        if ACTIONS.get(act, act) not in asked and what != "shared":
            yield "no rule", f"no match asks for {act}", f"{act} {what} at {at:.0f}"


def _deleted(told: History, rec: Recording, made: list[Match]) -> Iterator[tuple[str, str, str]]:
    """A deletion for which no match was ready: its other actions had not all been done."""
    at = rec.deleted
    if at is None or (at, "deleted", True) not in rec.by_bot:
        return
    rules = [_lasting(told, it) for it in made if it.at <= at]
    done = {ACTIONS.get(act, act) for when, act, _ in rec.acts if when <= at} | {"untag"}
    tags = {what for when, act, what in rec.acts if when <= at and act == "tag"}
    ready = [
        rule is None or ("delete" in rule["do"] and rule["do"].keys() <= done | {"delete", "slack"}
                         and rule["do"]["tag"] in tags)
        for rule in rules
    ]  # fmt: skip
    if not any(ready):
        yield "all of them", "delete comes last, after all others", f"done before it: {done}"


def _lacking(
    told: History, rec: Recording, it: Match, do: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """What the bot has not done, or more than once."""
    ended, people = told.ended[rec.id], [act for act in rec.acts if act not in rec.by_bot]
    ours = min((at for at, act, _ in rec.by_bot if act == "shared"), default=it.at)
    first = any(act == "shared" and at < ours - MINUTE for at, act, _ in people)
    if "share" in do and ended.shares > (0 if first else 1):
        why = "somebody had shared it" if first else "it is shared once"
        yield why, f"the bot shared it {ended.shares} times"
    if rec.deleted is not None:
        return
    if "delete" in do:
        yield "it is deleted", "it is there"
    for action in ended.set_to.keys() & do.keys():
        if not ended.set_to[action]:
            yield f"{action} is done in the end", "it is not"
    put_back = any(what == REVIEW and at > it.at - MINUTE for at, act, what in people)
    if "untag" in do and REVIEW in ended.tags and not put_back:
        yield f"the tag {REVIEW} is off in the end", "it is on"

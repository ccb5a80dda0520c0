"""New rules come into use: what the store keeps for rules, and what waits, follows them.

`accept` comes first; then the watcher uses the rules, and `rebuild` changes the waiting steps.
"""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from bot.budgets.changed_by_others import follow_files
from bot.delivery.rebuild import current_rules, post_limits, rebuild_some
from bot.domain.subjects import Site
from bot.polling.context import PollContext
from bot.polling.record_matches import posting
from bot.polling.server_facts import remember_tags
from bot.reports.poll import end_disabled
from bot.rules.model import Rule, RuleSet, applies
from bot.store import Connection
from bot.store.alert_states import rules_present
from bot.store.audit import Note, record
from bot.store.cancel import take_back_unwanted
from bot.store.lanes import probe_lanes
from bot.store.rebuild import use_limits
from bot.store.recordings import website_names
from bot.store.renames import rename_rule
from bot.store.rules import on_their_way, rule_states, rules_loaded, steps_rebuilt
from bot.watched_sites import AT_ONCE
from mouseflow.turns import in_turns


class Accepted(Struct, frozen=True):
    """Rules that the store knows. `changed` are those edited since they ran last.

    `actions` are those of each rule, by kind and parameters. `posts`: there are new messages.
    """

    changed: frozenset[str]
    actions: Mapping[str, Collection[tuple[str, str]]]
    posts: bool


async def accept(
    rules: RuleSet, context: PollContext, ops: str | None, now: datetime, *, starts: bool
) -> Accepted:
    """Save which rules come into use; what belongs to others ends, or is renamed with its rule.

    `starts`: the bot has just started, and these are its first.
    """
    fingerprints = await in_turns(_fingerprints(rules.rules))
    text = f"{len(rules.rules)} rule{'s'[: len(rules.rules) != 1]} active"
    if budgets := len(rules.budgets):
        text = f"{len(rules.rules)} rules and {budgets} budget{'s'[: budgets > 1]} active"
    text += f", {len(rules.disabled)} disabled" * bool(rules.disabled)
    text = f"the bot started: {text}" if starts else text
    note = Note(kind="rules.loaded", text=text, details={"digest": rules.digest})
    actions = {
        rule.id: {(action.kind, action.stored()) for action in rule.do} for rule in rules.rules
    }

    def work(conn: Connection) -> Accepted:
        record(conn, now, [note])
        _rename(conn, rules.written, now)
        names = website_names(conn)
        ended = end_disabled(conn, rules.disabled, context.routing, now)
        remember_tags(conn, rules.rules, now)
        rules_present(conn, fingerprints, now, context.gap)
        lost = follow_files(conn, rules.budgets, names, ops, now)
        changed = rules_loaded(conn, fingerprints, now)
        take_back_unwanted(conn, actions, _covers(conn, rules), changed, now)
        return Accepted(changed, actions, lost or bool(ended.matches))

    return await context.store.run(work)


async def rebuild(
    changed: Collection[str],
    rules: RuleSet,
    context: PollContext,
    now: datetime,
    *,
    probe: bool = True,
) -> frozenset[str]:
    """Have what waits follow the rules as they are now; with `probe` what failed is tried again.

    Returns the rules of which a step is on its way: it may wait again, and is to follow then.
    """
    if not changed:
        return frozenset()
    routing, run = context.routing, context.store.run
    edited = [rule for rule in rules.rules if rule.id in changed]
    postings = {rule.id: posting(rule, routing.zone) for rule in edited}
    limits = {rule.id: post_limits(rule, routing.channel) for rule in edited}
    current = await run(
        partial(current_rules, rules=rules.rules, channel=routing.channel, ops=None)
    )

    def some(conn: Connection, after: int) -> tuple[int | None, frozenset[str]]:
        last = rebuild_some(conn, now, current, changed, after)
        return last, on_their_way(conn, changed)  # before the next transaction it may wait again

    after: int | None = 0
    left = frozenset[str]()
    while after is not None:
        after, sending = await run(partial(some, after=after))
        left |= sending

    def rest(conn: Connection) -> None:
        use_limits(conn, postings, limits, now)
        if probe:
            probe_lanes(conn)
        steps_rebuilt(conn, set(changed) - left)

    await run(rest)
    return left


async def follow_edits(
    edited: Collection[str],
    accepted: Accepted,
    rules: RuleSet,
    context: PollContext,
    now: datetime,
) -> frozenset[str]:
    """Have the matches of a poll that ran while these rules were edited follow it, as `rebuild`."""

    def work(conn: Connection) -> None:
        _rename(conn, rules.rules, now)
        take_back_unwanted(conn, accepted.actions, _covers(conn, rules), edited, now)

    await context.store.run(work)
    return await rebuild(edited, rules, context, now)


async def rename_late(rules: Sequence[Rule], context: PollContext, now: datetime) -> None:
    """Rename what this bot matched since the one that leads has renamed the rules."""

    def work(conn: Connection) -> None:
        renamed = rule_states(conn)
        _rename(conn, [rule for rule in rules if rule.was and rule.id in renamed], now)

    await context.store.run(work)


def _covers(conn: Connection, rules: RuleSet) -> Callable[[str, str], bool]:
    """Whether a rule watches a website, by their ids; also where its name is not known."""
    names, by_id = website_names(conn), {rule.id: rule for rule in rules.rules}

    def covers(rule: str, website: str) -> bool:
        it, name = by_id.get(rule), names.get(website)
        return it is None or name is None or applies(it, Site(website, name))

    return covers


def _rename(conn: Connection, rules: Sequence[Rule], now: datetime) -> None:
    for rule in rules:
        for old in rule.was:
            rename_rule(conn, old, rule.id, now)


def _fingerprints(rules: Sequence[Rule]) -> Generator[None, None, dict[str, str]]:
    found: dict[str, str] = {}
    for rule in rules:
        if len(found) % AT_ONCE == 0:
            yield
        found[rule.id] = fingerprint(rule)
    return found


def fingerprint(rule: Rule) -> str:
    """A hash that changes when the rule does; its name and position do not count."""
    bare = replace(rule, id="", was=(), file="", line=0, column=1, tests=())
    return blake2b(repr(bare).encode(), digest_size=8).hexdigest()

"""Show why a rule matches a recording or not, and what became of its actions.

RECORDING is an id or a pasted link to the playback. A deleted recording is explained from the
store. --plan shows which API calls the rule needs.
"""

import asyncio
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.messages.text import counted

if TYPE_CHECKING:
    from datetime import datetime

    from bot.config import Settings
    from bot.domain.subjects import Site
    from bot.replay.explain_one import Address, Explained, Outcome, Remembered
    from bot.rules.explain import Explanation
    from bot.rules.model import Rule, RuleSet
    from bot.rules.needs import Plan
    from bot.store import Connection

EXAMPLE = (
    "mouseflow-bot explain checkout-friction 4a1b2c\n"
    "mouseflow-bot explain checkout-friction https://app.mouseflow.com/websites/W/recordings/R/play\n"
    "mouseflow-bot explain checkout-friction --plan"
)


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of the recording. Without `explanation` the account does not have it."""

    explanation: "Explanation | None"
    remembered: "Remembered"
    outcomes: "list[Outcome]"
    future: list[str]
    site: "Site | None"
    plan: "Plan | None"
    calls: int
    looked: "tuple[Site, ...]" = ()


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("rule", metavar="RULE", help="the rule's id")
    parser.add_argument(
        "recording", nargs="?", metavar="RECORDING", help="an id, its beginning, or a pasted link"
    )
    parser.add_argument(
        "--website", default="", metavar="W", help="name or id of its website, if known"
    )
    parser.add_argument(
        "--plan", action="store_true", help="show the API calls that the rule needs"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(paths=[], usage_error=parser.error)


def run(args: Namespace) -> int:
    """Explain; 1 if the recording is not found."""
    from bot import logs
    from bot.cli import context, output
    from bot.replay.select import rule_named

    if args.recording is None and not args.plan:
        args.usage_error("give a recording (an id or a link), or --plan")
    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    rules = context.rules(args, settings)
    rule = rule_named(rules.written, args.rule, rules.elsewhere)
    if args.recording is None:
        with output.busy("asking Mouseflow"):
            plans = asyncio.run(_plans(args, settings, rules, rule))
        if args.json:
            names = {site.id: site.name for site, _, _ in plans}
            output.document({"rule": rule.id, "data": _plans_json(plans)}, names)
        else:
            _show_plans(rule, plans)
        return 0
    if rule.watch != "recordings":
        shows = output.named(f"`mouseflow-bot history --rule {rule.id}`")
        args.usage_error(
            f"{rule.id} watches {rule.watch}, not recordings; {shows} shows when it fired and why"
        )
    with output.busy(f"asking Mouseflow about {args.recording}"):
        found = asyncio.run(_explain(args, settings, rules, rule))
    if args.json:
        sites = (*found.looked, *([found.site] if found.site else ()))
        names = {site.id: site.name for site in sites}
        output.document(_as_json(rule, found), names)
    else:
        _show(rule, found)
    return 0 if found.explanation or found.remembered.match else 1


async def _plans(
    args: Namespace, settings: "Settings", rules: "RuleSet", rule: "Rule"
) -> "list[tuple[Site, Plan, Plan]]":
    """Each website that the rule watches, with the rule's own plan and that of all rules there.

    Raises ConfigError for a named website that the rule does not watch.
    """
    from bot.cli.history_context import account
    from bot.replay.select import chosen_sites, watched_sites
    from bot.rules.needs import plan
    from mouseflow import websites

    async with account(settings) as api:
        rows = await api.send(websites.list())
        sites = (
            chosen_sites(rows, [rule], [args.website])
            if args.website
            else watched_sites(rows, [rule])
        )
        return [(site, plan([rule], site), plan(rules.rules, site)) for site in sites]


def _show_plans(rule: "Rule", plans: "list[tuple[Site, Plan, Plan]]") -> None:
    from bot.cli import output
    from bot.rules.needs import lines, some

    if rule.watch != "recordings":
        output.line(f"{rule.id} watches {rule.watch}: one poll serves all rules together")
        return
    alike: dict[tuple[Plan, Plan], list[str]] = {}
    for site, own, every in plans:
        alike.setdefault((own, every), []).append(site.name)
    for (own, every), names in alike.items():
        output.line(f"{some(names)}: calls for {rule.id} alone")
        for text in lines(own):
            output.line(f"  {text}")
        rules = counted(len(every.rules), "rule")
        output.line(f"  all {rules} together: {counted(every.calls, 'call')}")
    if not plans:
        output.line(f"{rule.id} watches no website of this account")


def _plans_json(plans: "list[tuple[Site, Plan, Plan]]") -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [
        {"website": site.id, **asdict(own), "calls": own.calls, "calls_of_all_rules": every.calls}
        for site, own, every in plans
    ]


async def _explain(args: Namespace, settings: "Settings", rules: "RuleSet", rule: "Rule") -> Result:
    from bot.cli.history_context import account, utc
    from bot.polling.server_facts import own_tags
    from bot.replay import explain_one
    from bot.replay.explain_one import Remembered
    from bot.rules.explain import explain
    from bot.rules.model import applies
    from bot.rules.needs import plan
    from mouseflow import websites

    where = _whole(settings, explain_one.address(args.recording))
    known = _remembered(settings, rule, where)
    async with account(settings) as api:
        rows = await api.send(websites.list())
        sites = _sites(rows, rules, args.website, where, known)
        there = await explain_one.find(api, sites, where.recording)
        now = utc()
        if there is None:
            return Result(
                None, known or Remembered(), _past(known, now), [], None, None, api.calls, sites
            )  # fmt: skip
        site, detail = there
        known = known or _remembered_at(settings, rule, site)
        seen: Explained = await explain_one.ask(
            api, site, detail, rule, own_tags(rules.rules) | known.tags,
            settings.mouseflow.time_zone, now,
        )  # fmt: skip
        explanation = explain(rule, seen.subject)
        future = (
            []
            if known.match
            else explain_one.future(
                rule, seen.subject, explanation, known,
                held=seen.held, settle=settings.poll.settle, now=now,
            )
        )  # fmt: skip
        asked = plan([rule], site) if applies(rule, site) else None
        return Result(explanation, known, _past(known, now), future, site, asked, api.calls)


def _past(known: "Remembered | None", now: "datetime") -> "list[Outcome]":
    from bot.replay import explain_one

    return explain_one.past(known, now) if known and known.match else []


def _sites(
    rows: "Any", rules: "RuleSet", named: str, where: "Address", known: "Remembered | None"
) -> "tuple[Site, ...]":
    """The websites that may have the recording: named, linked or stored, else all."""
    from bot.replay.select import site, watched_sites

    certain = named or where.website or (known.match.website if known and known.match else "")
    if certain:
        return watched_sites(rows, rules.rules, [certain])
    first = watched_sites(rows, rules.rules)
    return tuple(dict.fromkeys((*first, *map(site, rows))))


def _whole(settings: "Settings", where: "Address") -> "Address":
    """The address with the whole id of the one known recording whose id begins so.

    Raises ConfigError if there are several. An id that is not known stays as it is.
    """
    from dataclasses import replace

    from bot.cli.history import MOST_ALIKE, whole_id
    from bot.store import location_of, open_store
    from bot.store.recordings import ids_beginning

    if not location_of(settings.store.url).exists():
        return where
    with open_store(settings.store.url, read_only=True) as store:
        found = store.do(
            lambda conn: ids_beginning(conn, where.recording, where.website, MOST_ALIKE + 1)
        )
    return replace(where, recording=whole_id(where.recording, found))


def _remembered(settings: "Settings", rule: "Rule", where: "Address") -> "Remembered | None":
    """The stored match of this rule and recording, if there is one."""
    from bot.store import location_of, open_store

    if not location_of(settings.store.url).exists():
        return None
    with open_store(settings.store.url, read_only=True) as store:
        return store.do(lambda conn: _decision(conn, rule, where))


def _decision(conn: "Connection", rule: "Rule", where: "Address") -> "Remembered | None":
    from bot.replay.explain_one import Remembered
    from bot.store.audit import history
    from bot.store.dead_letters import steps_of
    from bot.store.matches import matches_of
    from bot.store.rules import rule_states

    names = (rule.id, *rule.was)
    for name in names:
        found = matches_of(
            conn, rule=name, subject_key=where.recording, website=where.website, limit=1
        )
        for match in found:
            # The audit log keeps the id that the rule had then.
            noted = history(conn, subject=where.recording)
            notes = [note for note in noted if note.rule in names]
            steps = steps_of(conn, match.key)
            return Remembered(match, steps, notes, rule_states(conn).get(name))
    return None


def _remembered_at(settings: "Settings", rule: "Rule", site: "Site") -> "Remembered":
    """What the store knows without a match: the rule's state, and since when it watches."""
    from bot.replay.explain_one import Remembered
    from bot.store import location_of, open_store

    if not location_of(settings.store.url).exists():
        return Remembered()
    with open_store(settings.store.url, read_only=True) as store:
        return store.do(lambda conn: _watch(conn, rule, site))


def _watch(conn: "Connection", rule: "Rule", site: "Site") -> "Remembered":
    import msgspec

    from bot.polling.server_facts import earlier_tags
    from bot.polling.watermark import SOURCE, Watermark
    from bot.replay.explain_one import Remembered
    from bot.store.recordings import watermark
    from bot.store.rules import rule_states

    text = watermark(conn, SOURCE, site.id)
    since = msgspec.json.decode(text, type=Watermark).since if text else None
    state = rule_states(conn).get(rule.id)
    return Remembered(state=state, watching=since, tags=earlier_tags(conn))


def _show(rule: "Rule", found: Result) -> None:
    from bot.cli import output
    from bot.replay import explain_one
    from bot.rules import needs
    from bot.rules.explain import lines

    if found.explanation:
        for text in lines(found.explanation):
            output.line(text)
    else:
        output.line(f"{_not_found(found.looked)}; it may have been deleted")
    for text in explain_one.lines(found.remembered, found.outcomes):
        output.line(text)
    for text in found.future:
        output.line(text)
    if found.plan:
        output.line("API calls of the rule's polls")
        for text in needs.lines(found.plan):
            output.line(f"  {text}")
    output.line(f"this explanation took {counted(found.calls, 'API call')}")


def _not_found(looked: "tuple[Site, ...]") -> str:
    if len(looked) == 1:
        return f"{looked[0].name} has no such recording"
    return f"none of the account's {len(looked)} websites has such a recording"


def _as_json(rule: "Rule", found: Result) -> dict[str, Any]:
    from dataclasses import asdict

    match = found.remembered.match
    return {
        "rule": rule.id,
        "website": found.site.id if found.site else match.website if match else None,
        "there": found.explanation is not None,
        "explanation": asdict(found.explanation) if found.explanation else None,
        "matched": match.matched if match else None,
        "why": [note.text for note in found.remembered.notes if note.kind == "match"],
        "actions": [asdict(outcome) for outcome in found.outcomes],
        "now": found.future,
        "plan": asdict(found.plan) if found.plan else None,
        "calls": found.calls,
    }

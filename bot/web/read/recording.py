"""One recording, or one match: why, and what became of it, as the store knows it."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec

from bot.domain.insight import Stop
from bot.messages.links import recording_url
from bot.messages.text import clean
from bot.polling.watermark import SOURCE
from bot.store import Connection
from bot.store.audit import history
from bot.store.matches_now import MatchNow, matches_now, members_of
from bot.store.overview import recording_row
from bot.web.read.activity import quotes_visitors
from bot.web.read.world import World, actions_of, match_of, plain
from bot.web.views import Match, MatchPage, NearRule, Recording, RuleOfRecording

MOST = 200
PAGE = 50


def recording(seen: World, key: str) -> Recording | None:
    """Read it; None if the store does not know it."""
    conn, facts = seen.conn, seen.facts
    row = recording_row(conn, key)
    found = [
        match
        for website in ([row.website] if row else seen.names)
        for match in matches_now(conn, website=website, subject_key=key, limit=MOST, whole=True)
        if match.kind == SOURCE
    ]
    if row is None and not found:
        return None
    website = row.website if row else found[0].website
    settle = facts.settings.poll.settle
    active = row.last_activity if row else None
    path, pages = _path(found)
    near = tuple(_near(found, seen))
    kept = next((it.insight for it in found if it.insight is not None), None)
    return Recording(
        frame=seen.frame,
        id=key,
        website_id=website,
        website=seen.name(website),
        url=recording_url(facts.settings.mouseflow.app_url, website, key) or "",
        started_at=row.created if row else None,
        last_activity_at=active,
        final=row.final if row else True,
        final_at=active + settle if active and row and not row.final else None,
        rules=_rules(conn, key, found, seen),
        near=near,
        others=_others({*(it.rule for it in found), *(it.rule_id for it in near)}, seen),
        path=path,
        pages=pages,
        facts=dict(kept.facts) if kept else {},
    )


def _near(found: Sequence[MatchNow], seen: World) -> Iterable[NearRule]:
    """The rules that came close, as of the newest match; those that have matched since are not."""
    newest = next((it for it in found if it.insight is not None and it.insight.near), None)
    matched = {it.rule for it in found}
    for each in newest.insight.near if newest and newest.insight else ():
        if each.rule in matched or newest is None:
            continue
        about = seen.rules.get(each.rule)
        marks = [part.mark for part in (each.when.parts or (each.when,))]
        yield NearRule(
            rule_id=each.rule,
            summary=clean(about.summary or about.id) if about else each.rule,
            at=newest.matched,
            waits=each.waits,
            holds=marks.count("yes"),
            of=len(marks),
            when=each.when,
            excepts=each.excepts,
        )


def _others(shown: Collection[str], seen: World) -> int:
    """How many more rules watch recordings."""
    return sum(rule.watch == SOURCE and rule.id not in shown for rule in seen.rules.values())


def _path(found: Sequence[MatchNow]) -> tuple[tuple[Stop, ...], int]:
    """The visit as the newest match has kept it, and how many pages it had."""
    kept = [match.insight for match in found if match.insight is not None]
    return (kept[0].path, kept[0].pages) if kept else ((), 0)


def _rules(
    conn: Connection, key: str, matches: Sequence[MatchNow], seen: World
) -> tuple[RuleOfRecording, ...]:
    suppressed: dict[str, tuple[datetime, str]] = {}
    for note in history(conn, subject=key, kind="suppressed", limit=MOST):
        suppressed.setdefault(note.rule, (note.at, plain(note.text)))
    found, done = [], _done(conn, key)
    for match in matches:
        about = seen.rules.get(match.rule)
        _at, reason = suppressed.get(match.rule, (match.matched, ""))
        found.append(
            RuleOfRecording(
                rule_id=match.rule,
                summary=clean(about.summary or about.id) if about else match.rule,
                outcome="held back" if reason else "matched",
                at=match.matched,
                why=tuple(map(clean, match.why)),
                actions=actions_of(match, done),
                reason=reason,
                when=match.insight.when if match.insight else None,
                excepts=match.insight.excepts if match.insight else None,
            )
        )
    return tuple(found)


def _done(conn: Connection, subject: str) -> dict[str, str]:
    """What each finished step of the subject says it did, by its key.

    Without what may come from visitors.
    """
    notes = history(conn, subject=subject, kind="step.done", limit=MOST) if subject else []
    return {it.step: plain(it.text) for it in notes if not quotes_visitors(it.step)}


def _members(members: Iterable[MatchNow], summary: MatchNow, seen: World) -> Iterable[Match]:
    """The matches; the one that stands for all of them is one of a count, too."""
    for each in members:
        shown = match_of(each, seen)
        yield msgspec.structs.replace(shown, stands_for=0) if each.id == summary.id else shown


def match_page(
    seen: World, key: str, before: int | None = None, limit: int = PAGE
) -> MatchPage | None:
    """Read one match; None if the store does not know it.

    Of the matches that it stands for at most `limit`, `before` the one with this number.
    """
    conn = seen.conn
    found = matches_now(conn, key=key, limit=1, whole=True)
    if not found:
        return None
    about, kept = seen.rules.get(found[0].rule), found[0].insight
    path, pages = _path(found)
    many = members_of(conn, found[0], before, limit) if found[0].stands_for else None
    return MatchPage(
        frame=seen.frame,
        match=match_of(found[0], seen),
        summary=clean(found[0].summary or (about.summary if about else "") or found[0].rule),
        actions=actions_of(found[0], _done(conn, found[0].subject_key)),
        why=tuple(map(clean, found[0].why)),
        when=kept.when if kept else None,
        excepts=kept.excepts if kept else None,
        path=path,
        pages=pages,
        since=many.since if many else None,
        until=many.until if many else None,
        members=tuple(_members(many.found, found[0], seen)) if many else (),
        older=many.older if many else None,
    )

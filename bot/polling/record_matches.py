"""Records what a poll found as matches, in the transaction that records the poll itself.

`once_per`, `count` and `safety` need the store, and their answer must be written with the match,
or a restart would count twice.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import reduce
from typing import Final, get_args

from msgspec import Struct
from msgspec.structs import replace

from bot.actions.base import Action
from bot.domain.alert_state import REMINDED, RESOLVED
from bot.domain.insight import Near
from bot.domain.limits import Hours, Posting, Reason, enough, trips
from bot.domain.many import NOWHERE, Many, worst
from bot.domain.press import Offer
from bot.domain.subjects import Severity, Site, Subject, reread, written
from bot.fields.catalogue import WEBSITE, group_told, group_value
from bot.messages.ops import instant
from bot.messages.pages import glimpse, page_of_trouble, spread_with
from bot.messages.text import clean, lasting
from bot.polling.candidates import Evaluation
from bot.polling.ops_messages import announce
from bot.polling.session import last_activity
from bot.rules.explain import insight, nearest, why
from bot.rules.model import Count, Rule, condition_id, match_key, steps
from bot.store import Connection
from bot.store.audit import AuditKind, Note, record
from bot.store.matches import (
    NOT_STORED,
    NewMatch,
    NewStep,
    PollOutcome,
    commit_poll,
    count_page,
    mark_counted,
    set_aside,
)
from bot.store.recordings import matched_rules
from bot.store.rules import (
    Group,
    acted_within,
    once_mark,
    once_near,
    pause_rule,
    paused_rules,
    tally,
    tally_clear,
    tally_one,
)
from bot.store.schema import moment, ms
from mouseflow.decode import Unreadable
from mouseflow.models import Recording

READ_ONLY = "left out, since the API user may only read this website"


class Found(Struct, frozen=True, kw_only=True):
    """A rule and a subject that matches it.

    `happened` is when it took place. `episode` distinguishes one firing of an alert from the
    next; it is empty for recordings, which match once. `actions` and `summary` replace the
    rule's own in a reminder and at the end of an episode, which is told whenever its beginning
    was, whatever holds the rule back now; `continues` is when the rule fired. `held` is why the
    match leads to nothing; empty if only what the store knows can say so. `near` are rules that
    did not match the same recording.
    """

    rule: Rule
    subject: Subject
    happened: datetime
    why: tuple[str, ...] = ()
    episode: str = ""
    actions: tuple[Action, ...] | None = None
    summary: str = ""
    continues: datetime | None = None
    held: str = ""
    near: tuple[Near, ...] = ()

    @property
    def key(self) -> str:
        """The permanent key of the match."""
        return match_key(self.rule.id, self.subject, self.episode)


class Routing(Struct, frozen=True):
    """Where posts without a channel go, and the time zone of active hours.

    `ops` is the channel for messages about the bot itself, None for none. `weekly`: some report
    tells on which pages rules match.
    """

    channel: str
    zone: str
    ops: str | None = None
    weekly: bool = False


class Caught(Struct, frozen=True):
    """How many recordings were read that were not known, and how many matches they brought."""

    recordings: int = 0
    matches: int = 0


NOTHING = Caught()


class Recorded(Struct, frozen=True):
    """The keys of the new matches, and the rules that their safety paused, with the reason.

    `suppressed` are the keys of the matches that lead to nothing. `announced`: there is a message
    for the ops channel. `caught` is what the poll has read and found, as far as it matters at the
    end of an outage. `unconfirmed`: an alert about missing sessions
    fires only if the website is recording.
    """

    matches: tuple[str, ...] = ()
    paused: tuple[tuple[str, str], ...] = ()
    suppressed: frozenset[str] = frozenset()
    announced: bool = False
    caught: Caught = NOTHING
    unconfirmed: bool = False

    def beside(self, other: "Recorded") -> "Recorded":
        """Both together, of one poll."""
        return Recorded(
            self.matches + other.matches,
            self.paused + other.paused,
            self.suppressed | other.suppressed,
            self.announced or other.announced,
            self.caught,
            self.unconfirmed or other.unconfirmed,
        )


MOST_COMPARED = 20
"""Of how many recordings of a poll it is kept why other rules did not match."""


def matches_in(
    evaluations: Iterable[Evaluation], now: datetime, rules: Sequence[Rule] = ()
) -> list[Found]:
    """Every match among the evaluations, at the time of the session's last activity.

    With those of `rules` that came close to matching the same recording.
    """
    found: list[Found] = []
    compared = 0
    for each in evaluations:
        near: tuple[Near, ...] = ()
        if each.rules and compared < MOST_COMPARED:
            matched = {rule.id for rule in each.rules}
            others = (rule for rule in rules if rule.id not in matched)
            near = nearest(others, each.subject, settled=each.candidate.settled)
            compared += 1
        found += (
            Found(
                rule=rule,
                subject=each.subject,
                happened=min(now, last_activity(each.candidate.row) or now),
                why=why(rule, each.subject),
                near=near,
            )
            for rule in each.rules
        )
    return found


MOST_NAMED = 1_000
"""How many recordings of a website that can't be read as documented are named."""
UNREADABLE: Final = "poll.unreadable"
BAD_VALUE: Final = "poll.bad_value"


def odd_notes(
    website: str, rows: Iterable[Recording], unreadable: Iterable[Unreadable]
) -> Iterator[Note]:
    """A note for each recording of which the API sent what can't be read."""
    for bad in unreadable:
        name = bad.id or f"row {bad.index}"
        yield Note(kind=UNREADABLE, website=website, subject=name, text=bad.reason)
    for row in rows:
        if row.bad_values:
            text = "; ".join(f"{value.field}: {value.reason}" for value in row.bad_values)
            yield Note(kind=BAD_VALUE, website=website, subject=row.id, text=text)


def record_poll(
    conn: Connection, outcome: PollOutcome, found: Sequence[Found], routing: Routing
) -> Recorded:
    """Record the poll with its matches; a suppressed match has a reason and no steps."""
    paused = paused_rules(conn) if found else set[str]()
    known = matched_rules(conn, outcome.website, {each.subject.key for each in found})
    matches: list[NewMatch] = []
    tripped: list[tuple[str, str]] = []
    notes: list[Note] = []
    suppressed: set[str] = set()
    counts: dict[str, tuple[str, ...]] = {}
    for each in sorted(found, key=_order):
        if not each.episode and each.rule.id in known.get(each.subject.key, ()):
            continue
        with set_aside(conn, _note(each, "", NOT_STORED), outcome.at):
            reason: str | None = each.held or None
            many = None
            if each.actions is None and reason is None:
                reason, counted = _suppressed(conn, each, paused)
                many, counts[each.key] = counted.many, counted.keys
            if (
                reason is None
                and each.actions is None
                and (why := _trips(conn, each, matches, outcome.at))
            ):
                reason = Reason.PAUSED
                paused.add(each.rule.id)
                tripped.append((each.rule.id, why))
                _tell(conn, each, why, outcome.at, routing)
            if reason is None and each.actions is None:
                _mark_once(conn, each)
            actions = () if reason else each.rule.do if each.actions is None else each.actions
            allowed = tuple(action for action in actions if _may(action, each.subject))
            matches.append(_match(each, allowed, many, outcome.at, routing))
            if reason is not None:
                notes.append(_note(each, str(reason)))
                suppressed.add(each.key)
            if left_out := [action.kind for action in actions if action not in allowed]:
                notes.append(_note(each, f"{READ_ONLY}: {', '.join(dict.fromkeys(left_out))}"))
    new = commit_poll(conn, replace(outcome, matches=(*outcome.matches, *matches)))
    record(conn, outcome.at, notes)
    for key in new:
        if members := counts.get(key):
            mark_counted(conn, key, members)
    for each in found if routing.weekly else ():
        if each.key in new and each.key not in suppressed and (on := page_of_trouble(each.subject)):
            count_page(conn, each.subject.website.id, on, each.happened)
    return Recorded(new, tuple(tripped), frozenset(suppressed))


def _order(each: Found) -> tuple[datetime, int]:
    """What happened first comes first; of one recording the most severe, so that it notifies."""
    return each.happened, -get_args(Severity).index(each.rule.severity)


class _Counted(Struct, frozen=True):
    """What a match summarises, and the keys of those matches; nothing for a match of one."""

    many: Many | None = None
    keys: tuple[str, ...] = ()


_ALONE = _Counted()


def _suppressed(
    conn: Connection, each: Found, paused: Collection[str]
) -> tuple[Reason | None, _Counted]:
    """Why the match leads to nothing, and what it summarises, if its rule counts."""
    if each.rule.too_few is not None and not each.episode:
        tally_one(conn, each.rule.id, site_group(each.subject.website), each.key, each.happened)
        return Reason.COUNTED, _ALONE
    return (Reason.PAUSED, _ALONE) if each.rule.id in paused else _held(conn, each)


def posting(rule: Rule, zone: str) -> Posting:
    """What the rule says about its posts, as delivery needs it."""
    active = rule.active
    return Posting(
        hours=Hours(active.days, active.start, active.end, zone) if active else None,
        act_up_to=rule.after_downtime.act_up_to if rule.watch == "recordings" else None,
        older=rule.after_downtime.older,
    )


def _held(conn: Connection, each: Found) -> tuple[Reason | None, _Counted]:
    """Why `count` or `once_per` suppress the match, by the times at which things happened.

    So a backfill counts as the day itself would have.
    """
    rule, counted = each.rule, _ALONE
    if rule.count is not None:
        counted = _counted(conn, each, rule.count)
        if counted.many is None:
            return Reason.BELOW_COUNT, _ALONE
    if rule.once_per is None or (group := _group(each.subject, rule.once_per.field)) is None:
        return None, counted
    window = rule.once_per.window
    if any(once_near(conn, it, group, each.happened, window) for it in (rule.id, *rule.was)):
        return Reason.ONCE_PER, _ALONE
    return None, counted


def _mark_once(conn: Connection, each: Found) -> None:
    """Remember for `once_per` that the rule acts: what its safety keeps from acting is no match."""
    once = each.rule.once_per
    if once is not None and (group := _group(each.subject, once.field)) is not None:
        once_mark(conn, each.rule.id, group, each.happened, once.window)


def site_group(site: Site) -> Group:
    """The group of all that is counted on the website."""
    return Group(WEBSITE, site.id)


def _group(subject: Subject, field: str) -> Group | None:
    value = group_value(subject, field)
    return None if value is None else Group(field, value)


def _counted(conn: Connection, each: Found, count: Count) -> _Counted:
    """The subjects that reach the count together with this one; none if there are too few."""
    value = group_value(each.subject, count.by)
    if value is None:
        return _ALONE
    group = Group(count.by, value, condition_id(each.rule))
    at = moment(ms(each.happened))  # as the store tells it
    seen = written(glimpse(each.subject))
    near = tally(conn, each.rule.id, group, each.subject.key, at, count.within, seen)
    reached = first_reached([it for it, _ in near], at, count)
    if reached is None:
        return _ALONE
    tally_clear(conn, each.rule.id, group, reached)
    counted = [(it, about) for it, about in near if reached - count.within <= it <= reached]
    subjects = [reread(about) for _, about in counted if about is not None]
    spread = reduce(spread_with, subjects, NOWHERE)
    many = Many(
        asked=count.at_least,
        within=count.within,
        total=len(counted),
        since=counted[0][0],
        until=reached,
        spread=spread,
        worst=worst(subjects),
        by=count.by,
        group=clean(group_told(each.subject, count.by), 200),
    )
    return _Counted(many, tuple(match_key(each.rule.id, it) for it in subjects))


def first_reached(times: Sequence[datetime], at: datetime, count: Count) -> datetime | None:
    """When the count is first reached with what happened then; None if it is not.

    `times` is when the subjects near it were: some may have come to be known earlier, though
    they happened later.
    """
    return next(
        (
            last
            for last in times
            if last >= at
            and enough(sum(last - count.within <= it <= last for it in times), count.at_least)
            and at >= last - count.within
        ),
        None,
    )


def _trips(conn: Connection, each: Found, pending: Sequence[NewMatch], now: datetime) -> str | None:
    """Why the rule's safety pauses it now.

    Only matches that lead to actions count, each by when it happened and when it was found. What
    happened longer than the window ago is history, not a flood.
    """
    safety, rule = each.rule.safety, each.rule.id
    if safety is None or each.happened < now - safety.window:
        return None
    waiting = sum(
        match.rule == rule
        and bool(match.steps)
        and (match.happened or now) >= now - safety.window
        and not match.match_key.endswith((REMINDED, RESOLVED))
        for match in pending
    )
    so_far = acted_within(conn, rule, safety.window, now, each.happened) + waiting
    if not trips(so_far + 1, safety.times):
        return None
    why = f"more than {safety.times} matches within {lasting(safety.window)}"
    return why if pause_rule(conn, rule, why, now) else None


def _tell(conn: Connection, each: Found, why: str, now: datetime, routing: Routing) -> None:
    rule = each.rule.id
    remedy = f"Edit the rule, or run `mouseflow-bot retry {rule}`."
    title = f"Rule {rule} is paused: {why}"
    lines = ("It still judges what it watches, but does not act.", remedy)
    site, page = each.subject.website, f"rules/{rule}"
    offer = Offer("resume", rule, (rule,))
    since = f"Since {instant(now)}"
    announce(conn, title, lines, now, routing.ops, site, page, offer, grey=since)


def _may(action: Action, subject: Subject) -> bool:
    """Whether the action is allowed: on a read-only website only posts are."""
    return action.posts or not subject.website.read_only


def _match(
    each: Found,
    actions: Sequence[Action],
    many: Many | None,
    now: datetime,
    routing: Routing,
) -> NewMatch:
    rule, subject, key = each.rule, each.subject, each.key
    return NewMatch(
        rule=rule.id,
        kind=subject.kind,
        website=subject.website.id,
        subject_key=subject.key,
        match_key=key,
        subject=written(subject),
        matched=now,
        steps=[
            NewStep(
                key=step.key,
                rank=step.rank,
                lane=step.lane,
                kind=step.action.kind,
                params=step.action.stored(),
                due=now,
            )
            for step in steps(actions, subject, key, routing.channel)
        ],
        why=each.why,
        summary=each.summary or rule.summary or rule.id,
        happened=each.happened,
        posting=posting(rule, routing.zone),
        many=many,
        continues=each.continues,
        severity=rule.severity,
        runbook=rule.runbook,
        owner=rule.owner,
        insight=insight(rule, subject, each.near) if subject.kind == "recordings" else None,
    )


def _note(each: Found, reason: str, kind: AuditKind = "suppressed") -> Note:
    return Note(
        kind=kind,
        rule=each.rule.id,
        website=each.subject.website.id,
        subject=each.subject.key,
        text=reason,
    )

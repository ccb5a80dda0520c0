"""Save what a poll found in one transaction: watermark, recordings, matches and their steps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal, assert_never

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import Connection, func, select, update

from bot.domain.alert_state import RESOLVED
from bot.domain.insight import Insight, packed
from bot.domain.limits import Awaited, Posting, Told
from bot.domain.many import Many
from bot.domain.step import Rank, StepStatus
from bot.domain.subjects import Severity
from bot.messages.text import lasting
from bot.store.alert_states import grain
from bot.store.audit import Note, record
from bot.store.faults import is_trouble
from bot.store.lanes import add_lanes
from bot.store.lineage import look_since
from bot.store.recordings import SeenRecording, mark_vanished, save_recordings, set_watermark
from bot.store.schema import matches, moment, ms, steps
from bot.store.statements import AT_ONCE, Value, execute, execute_many, send_waiting

POSTS_WAIT_MS = 15 * 60_000
"""How long a post waits for its match's writes and share, to include the link."""

UNTIL_RELEASED = ms(datetime(9999, 12, 31, tzinfo=UTC))
"""When a step is due that waits for earlier ones however long they take."""

NO_LIMITS = Posting()
NOT_STORED: Final = "match.not_stored"

log = structlog.get_logger(__name__)


class NewStep(Struct, frozen=True, kw_only=True):
    """One action to take. `kind` and `params` (JSON) are the action, `key` is permanent."""

    key: str
    rank: int
    lane: str
    kind: str
    params: str
    due: datetime


class NewMatch(Struct, frozen=True, kw_only=True):
    """A rule matched a subject. `match_key` is unique and permanent; a known one is ignored.

    `kind` is what the rule watches, `subject` the JSON of the subject. `happened` is when
    the event took place (None: when it matched), `posting` what limits its posts. `many` is
    what it stands for, if its rule counts; `continues` is when the match was that began its
    alert. `insight` is what the status page shows of the decision.
    """

    rule: str
    kind: str
    website: str
    subject_key: str
    match_key: str
    subject: bytes
    matched: datetime
    steps: Sequence[NewStep]
    why: tuple[str, ...] = ()
    summary: str = ""
    happened: datetime | None = None
    posting: Posting = NO_LIMITS
    many: Many | None = None
    continues: datetime | None = None
    severity: Severity = "warning"
    runbook: str = ""
    owner: str = ""
    insight: Insight | None = None


class PollOutcome(Struct, frozen=True, kw_only=True):
    """All that one poll of one source changes. `watermark` None leaves the old one."""

    source: str
    website: str
    at: datetime
    watermark: str | None = None
    seen: Sequence[SeenRecording] = ()
    vanished: Sequence[str] = ()
    matches: Sequence[NewMatch] = ()
    notes: Sequence[Note] = ()


class KeptMatch(Struct, frozen=True, kw_only=True):
    """A stored match, without the subject's data."""

    id: int
    key: str
    rule: str
    kind: str
    website: str
    subject_key: str
    matched: datetime


def commit_poll(conn: Connection, outcome: PollOutcome) -> tuple[str, ...]:
    """Save the poll; returns the keys of new matches. A match that can't be stored is set aside."""
    save_recordings(conn, outcome.website, outcome.seen, outcome.at)
    mark_vanished(conn, outcome.website, outcome.vanished)
    if outcome.watermark is not None:
        set_watermark(conn, outcome.source, outcome.website, outcome.watermark, outcome.at)
    new: list[str] = []
    for match in outcome.matches:
        about = Note(
            kind=NOT_STORED, rule=match.rule, website=match.website, subject=match.subject_key
        )
        with set_aside(conn, about, outcome.at):
            if add_match(conn, match):
                new.append(match.match_key)
    record(conn, outcome.at, outcome.notes)
    return tuple(new)


@contextmanager
def set_aside(conn: Connection, about: Note, at: datetime) -> Iterator[None]:
    """Undo only this block if it raises: the audit log says why, and the others go on.

    Raises what concerns the whole store.
    """
    execute(conn, "SAVEPOINT aside", {})
    try:
        yield
        send_waiting(conn)  # or it would fail with the end of the block, too late to undo it
    except Exception as error:
        if is_trouble(error):
            raise
        execute(conn, "ROLLBACK TO SAVEPOINT aside", {})
        why = f"can't be stored: internal error: {type(error).__name__}"
        note = replace(about, rule=_plain(about.rule), subject=_plain(about.subject), text=why)
        record(conn, at, [note])
        log.exception(
            "match.not_stored", rule=note.rule, website=note.website, subject=note.subject
        )
    execute(conn, "RELEASE SAVEPOINT aside", {})


def _plain(text: str) -> str:
    """The text without what can't be encoded, which may be the reason."""
    return text.encode("utf-8", "replace").decode()


def add_match(conn: Connection, match: NewMatch) -> bool:
    """Save a match and its steps; False, and no change, if its key is known."""
    values: dict[str, Value] = {
        "key": match.match_key,
        "rule": match.rule,
        "kind": match.kind,
        "website": match.website,
        "subject_key": match.subject_key,
        "summary": match.summary,
        "subject": match.subject if match.steps else None,
        "why": msgspec.json.encode(match.why).decode(),
        "posting": msgspec.json.encode(match.posting).decode(),
        "many": msgspec.json.encode(match.many).decode() if match.many and match.steps else "",
        "matched": ms(match.matched),
        "happened": ms(match.happened or match.matched),
        "continues": _beginning(conn, match),
        "severity": match.severity,
        "runbook": match.runbook,
        "owner": match.owner,
        "insight": packed(match.insight) if match.insight else None,
    }
    added = execute(conn, _ADD, values).fetchall()
    if not added:
        return False
    match_id: int = added[0][0]
    add_steps(
        conn,
        match_id,
        match.steps,
        match.matched,
        match.happened,
        waits=bool(match.posting.awaits),
    )
    note = Note(
        kind="match",
        rule=match.rule,
        website=match.website,
        subject=match.subject_key,
        text="; ".join((*_ended(match), *match.why)) or match.summary,
        details={"steps": [step.key for step in match.steps]},
    )
    record(conn, match.matched, [note])
    return True


_ADD = (
    "INSERT INTO matches (key, rule, kind, website, subject_key, summary, subject, why, posting,"
    " many, matched, happened, continues, severity, runbook, owner, insight)"
    " VALUES (:key, :rule, :kind, :website, :subject_key, :summary, :subject, :why, :posting,"
    " :many, :matched, :happened, :continues, :severity, :runbook, :owner, :insight)"
    " ON CONFLICT (key) DO NOTHING RETURNING id"
)


def forget_insights(conn: Connection, website: str, subject_key: str) -> None:
    """Forget what a deleted subject's matches show."""
    about = (matches.c.website == website, matches.c.subject_key == subject_key)
    conn.execute(update(matches).where(*about).values(insight=None))


def _beginning(conn: Connection, match: NewMatch) -> int | None:
    """The match that began the alert which this one continues; None if it is not kept."""
    if match.continues is None:
        return None
    query = select(matches.c.id).where(
        matches.c.rule == match.rule,
        matches.c.website == match.website,
        matches.c.subject_key == match.subject_key,
        matches.c.matched == ms(match.continues),
    )
    return conn.execute(query.order_by(matches.c.id.desc()).limit(1)).scalar()


def begun_at(conn: Connection, rule: str, website: str, subject_key: str) -> datetime | None:
    """When the rule matched the subject last; None if its end was told since, or for never."""
    query = (
        select(matches.c.matched, matches.c.key)
        .where(
            matches.c.website == website,
            matches.c.subject_key == subject_key,
            matches.c.rule == rule,
        )
        .order_by(matches.c.id.desc())
        .limit(1)
    )
    last = conn.execute(query).first()
    return moment(last.matched) if last and not last.key.endswith(RESOLVED) else None


def _ended(match: NewMatch) -> tuple[str, ...]:
    """What the audit log says of the end of an alert; nothing for any other match."""
    if not match.match_key.endswith(RESOLVED):
        return ()
    began = match.continues
    return ("ended" if began is None else f"ended after {lasting(match.matched - began)}",)


def reached_people(
    conn: Connection, rule: str, website: str, subject_key: str, matched: datetime
) -> bool:
    """Whether a post of that match went out or still may; true of a match that is not kept."""
    query = (
        select(steps.c.state)
        .join(matches, matches.c.id == steps.c.match_id)
        .where(
            matches.c.rule == rule,
            matches.c.website == website,
            matches.c.subject_key == subject_key,
            matches.c.matched == ms(matched),
            steps.c.rank == Rank.POST,
        )
    )
    states = conn.execute(query).scalars().all()
    lost = (StepStatus.DEAD, StepStatus.WITHHELD)
    return not states or any(state not in lost for state in states)


def last_told(
    conn: Connection, rule: str, website: str, subject_key: str, fired: datetime
) -> datetime | Literal["waits"] | None:
    """When the newest post of the alert that fired then went out; None if it never will.

    The newest is the one that was stored last, whatever the clock said when the alert fired.
    """
    about = (
        matches.c.rule == rule,
        matches.c.website == website,
        matches.c.subject_key == subject_key,
    )
    first = select(func.min(matches.c.id)).where(*about, matches.c.matched >= ms(fired))
    query = (
        select(steps.c.state, steps.c.ended, matches.c.id)
        .join(matches, matches.c.id == steps.c.match_id)
        .where(*about, matches.c.id >= first.scalar_subquery(), steps.c.rank == Rank.POST)
    )
    rows = conn.execute(query).all()
    newest = max((row.id for row in rows), default=None)
    posts = [row for row in rows if row.id == newest]
    done = [row.ended for row in posts if row.state == StepStatus.DONE and row.ended is not None]
    if done:
        return moment(max(done))
    return "waits" if any(StepStatus(row.state).is_open for row in posts) else None


def add_steps(
    conn: Connection,
    match_id: int,
    new: Sequence[NewStep],
    now: datetime,
    happened: datetime | None = None,
    *,
    waits: bool = False,
) -> None:
    """Put the steps of a match into the outbox, in the order in which they are performed.

    A step waits until those of lower rank have ended; then `release_next` makes it due. With
    `waits` all wait for steps of other matches, until `release_awaiting` makes them due.
    """
    rows: list[dict[str, Value]] = []
    since = look_since(conn, happened or now, now) if new else None
    for step in sorted(new, key=lambda step: step.rank):
        due = ms(step.due)
        behind = waits or any(other.rank < step.rank for other in new)
        rows.append(
            {
                "match_id": match_id,
                "key": step.key,
                "rank": step.rank,
                "lane": step.lane,
                "action": step.kind,
                "params": step.params,
                **_waiting(step.rank, due, waits=behind),
                "created": max(ms(now), due),  # from then on it waits
                "look_since": since,
            }
        )
    if rows:
        execute_many(conn, _ADD_STEP, rows)
        add_lanes(conn, {step.lane for step in new})


_ADD_STEP = (
    "INSERT INTO steps (match_id, key, rank, lane, action, params, due, waits, created, look_since)"
    " VALUES (:match_id, :key, :rank, :lane, :action, :params, :due, :waits, :created, :look_since)"
)


def _waiting(rank: int, due: int, *, waits: bool) -> dict[str, int | None]:
    match Rank(rank) if waits else None:
        case Rank.SHARE | Rank.DELETE:
            return {"due": UNTIL_RELEASED, "waits": due}
        case Rank.POST:
            return {"due": due + POSTS_WAIT_MS, "waits": due}
        case Rank.WRITE | Rank.NOTICE | None:
            return {"due": due, "waits": None}
        case never:
            assert_never(never)


_RELEASE = (
    "UPDATE steps SET due = waits, waits = NULL WHERE match_id = :match AND waits IS NOT NULL"
    " AND state = 'pending' AND NOT EXISTS (SELECT 1 FROM steps AS earlier"
    " WHERE earlier.match_id = :match AND earlier.rank < steps.rank AND earlier.id < steps.id"
    " AND earlier.state IN ('pending', 'sending'))"
)


def release_next(conn: Connection, match: int) -> None:
    """A step of the match has ended: make due what waited for nothing else."""
    execute(conn, _RELEASE, {"match": match})


_AWAITING = (
    "SELECT DISTINCT matches.id, matches.posting FROM matches JOIN steps ON match_id = matches.id"
    " WHERE rule = :rule AND state = 'pending' AND waits IS NOT NULL"
)
_DUE_NOW = (
    "UPDATE steps SET due = waits, waits = NULL WHERE match_id = :match AND waits IS NOT NULL"
)


def release_awaiting(conn: Connection, rule: str) -> None:
    """A step of the rule has ended: make due the posts of its other matches that waited for it."""
    for match, posting in execute(conn, _AWAITING, {"rule": rule}).fetchall():
        awaited = msgspec.json.decode(posting, type=Posting).awaits
        if awaited and not any(
            status.is_open for _each, status, _result, _fault in _awaited(conn, awaited)
        ):
            execute(conn, _DUE_NOW, {"match": match})


def told_of_awaited(conn: Connection, posting: Posting) -> Told:
    """What a post says about the steps that it waited for; the same of many websites once."""
    sites: dict[str, list[str]] = {}
    done: dict[str, list[str]] = {}
    for each, status, result, fault in _awaited(conn, posting.awaits):
        sites.setdefault(_said(each, status, result, fault), []).append(each.site)
        if each.brief and status is StepStatus.DONE and result != each.no_effect:
            done.setdefault(each.brief, []).append(each.site)
    first = sorted(done, key=lambda brief: "%" in brief)
    return Told(
        ", ".join(f"{brief} on {_named(done[brief], 1)}" for brief in first),
        tuple(f"{_named(names, SITES_NAMED)}: {said}" if any(names) else said
              for said, names in sites.items()),
    )  # fmt: skip


SITES_NAMED = 5
"""How many websites a line names; the others are counted."""


def _named(names: Sequence[str], most: int) -> str:
    """`a.com, b.com`, with more than `most` of them `a.com and 3 others`, of one `4 websites`."""
    if len(names) <= most:
        return ", ".join(names)
    if most == 1:
        return f"{len(names)} websites"
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"


def _said(each: Awaited, status: StepStatus, result: str | None, fault: str) -> str:
    if status is StepStatus.DONE:
        return each.unchanged if result == each.no_effect else each.done
    yet, then = (" yet", "keeps trying") if status.is_open else ("", "tries again every hour")
    reason = f": {fault}" if fault else ""
    return f"{each.not_done}{yet}{reason}. The bot {then}"


def _awaited(
    conn: Connection, awaits: Sequence[Awaited]
) -> Iterator[tuple[Awaited, StepStatus, str | None, str]]:
    for each in awaits:
        query = select(steps.c.state, steps.c.result, steps.c.fault)
        row = conn.execute(query.where(steps.c.key == each.key)).first()
        if row is not None:
            yield each, StepStatus(row.state), row.result, row.fault


def matches_of(
    conn: Connection, *, website: str = "", subject_key: str = "", rule: str = "", limit: int = 100
) -> list[KeptMatch]:
    """The newest matches first; every filter given must hold. A digest is no match."""
    query = (
        select(matches)
        .where(matches.c.kind != "digest")
        .order_by(matches.c.matched.desc(), matches.c.id.desc())
        .limit(limit)
    )
    for column, wanted in (
        (matches.c.website, website),
        (matches.c.subject_key, subject_key),
        (matches.c.rule, rule),
    ):
        if wanted:
            query = query.where(column == wanted)
    return [
        KeptMatch(
            id=row.id,
            key=row.key,
            rule=row.rule,
            kind=row.kind,
            website=row.website,
            subject_key=row.subject_key,
            matched=moment(row.matched),
        )
        for row in conn.execute(query)
    ]


def mark_counted(conn: Connection, key: str, members: Sequence[str]) -> None:
    """The match with this key summarises the matches with those keys."""
    chosen = select(matches.c.id).where(matches.c.key == key).scalar_subquery()
    for start in range(0, len(members), AT_ONCE):
        some = matches.c.key.in_(members[start : start + AT_ONCE])
        conn.execute(update(matches).where(some).values(counted_in=chosen))


PAGES = "matches"
"""The kind of figures that count matches by page."""


def count_page(conn: Connection, website: str, page: str, at: datetime) -> None:
    """Count one more match on this page, for the quarter of an hour: days begin in every zone."""
    where: dict[str, Value] = {"kind": PAGES, "website": website, "page": page, "at": ms(grain(at))}
    execute(conn, _ONE_MORE, where)


_ONE_MORE = (
    "INSERT INTO figures (kind, website, subject, name, at, value)"
    " VALUES (:kind, :website, :page, 'matches', :at, 1)"
    " ON CONFLICT (kind, website, subject, name, at) DO UPDATE SET value = figures.value + 1"
)

"""The outbox: a step is pending, then sending, then done, dead, folded into a digest or withheld.

A step is saved as `sending`, under a token, before its request goes out, and only the holder
of that token can save its outcome. So a crash in between leaves a step whose outcome is
unknown, and a process that was frozen can't overwrite what another one took over.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, case, func, select, text, update

from bot.actions import AFTER_QUIET, DIGESTS, IRREVERSIBLE
from bot.domain.budget import BUDGET
from bot.domain.calendar import ALWAYS_LOUD, Calendar
from bot.domain.causes import Cause
from bot.domain.limits import Posting, Told
from bot.domain.step import OWN_RULE, Rank, StepStatus
from bot.ports import Posted
from bot.store.audit import AuditKind, Note, of_step, record
from bot.store.digests import (
    OTHERS_LEFT,
    DueStep,
    Left,
    after_step,
    due_steps,
    erase_digest,
    receipt,
)
from bot.store.lanes import (
    FREE_ON_LANE,
    KIND_FAILS,
    has_free_step,
    lane_works,
    set_apart,
)
from bot.store.limits import held_back
from bot.store.matches import (
    NewStep,
    add_steps,
    forget_insights,
    release_awaiting,
    told_of_awaited,
)
from bot.store.posts import keep_posts, post_of
from bot.store.presses import show_outcome
from bot.store.recordings import note_deletion
from bot.store.schema import matches, moment, moment_or_none, ms, ms_or_none, steps
from bot.store.statements import Value, execute, execute_later

AT_ONCE = 200
"""How many posts one transaction folds at most, so that other work does not wait long."""


class Unfinished(Struct, frozen=True):
    """An earlier step of a match: its action, and whether it is a dead letter or still open."""

    action: str
    dead: bool


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is ours to perform now. `token` proves it when the outcome is saved.

    `attempts` counts this one. `attempted` is when an earlier attempt began whose outcome is
    unknown; `restored` that there may have been one, of which a restored store does not know.
    `results` are those of earlier steps of the match, by kind of action; `unfinished` are the
    earlier steps that have not taken effect. `more`: another step of the lane could be performed
    beside it. `many` is the JSON of what the match stands for,
    `post` the message that the step answers or edits.
    """

    step: int
    token: str
    key: str
    rank: int
    lane: str
    action: str
    params: str
    match: int
    rule: str
    website: str
    subject_key: str
    summary: str
    subject: bytes
    why: tuple[str, ...]
    matched: datetime
    attempts: int
    first_tried: datetime
    began: datetime
    attempted: datetime | None
    restored: bool
    results: Mapping[str, str]
    unfinished: tuple[Unfinished, ...] = ()
    many: str = ""
    post: Posted | None = None
    severity: str = "warning"
    runbook: str = ""
    owner: str = ""
    more: bool = False


# The states are literals: with parameters SQLite does not use the partial indexes.
_DUE = (
    f"{due_steps('coalesce(lanes.failures, 0)', KIND_FAILS)}"
    " LEFT JOIN lanes ON lanes.lane = steps.lane"
    " WHERE steps.lane = :lane AND coalesce(lanes.paused_until, 0) <= :now AND steps.due <= :now"
    f" AND steps.state = 'pending' AND {FREE_ON_LANE} ORDER BY steps.due, steps.id LIMIT 1"
)
_SEND = (
    "UPDATE steps SET state = 'sending', token = :token, began = :now, first_tried = :first,"
    " waits = NULL, attempts = attempts + 1, post_key = :post_key WHERE id = :step"
)
_RESULTS = "SELECT action, result FROM steps WHERE match_id = :match AND result IS NOT NULL"
_UNFINISHED = (
    "SELECT action, state = 'dead' FROM steps WHERE match_id = :match AND rank < :rank"
    " AND id < :step AND state IN ('pending', 'sending', 'dead') ORDER BY id"
)


def claim(
    conn: Connection,
    lane: str,
    now: datetime,
    token: str,
    calendar: Calendar = ALWAYS_LOUD,
    *,
    beside: bool = True,
) -> Claim | None:
    """The lane's first due step, marked `sending` under `token`; None if there is none.

    None while the lane is paused, too. On a website's lane writes of several recordings may be in
    flight side by side, those of one recording never; `beside` asks whether there is another one.

    Posts that must not go out now are folded into their digest or withheld.
    """
    for _ in range(AT_ONCE):
        found = execute(conn, _DUE, {"lane": lane, "now": ms(now)}).fetchone()
        if found is None:
            return None
        *columns, failures, kind_fails = found
        row = DueStep(*columns)
        if kind_fails and row.rank != Rank.POST:
            set_apart(conn, lane, row.action)
            continue
        if not held_back(conn, row, now, calendar):
            sent = _sent(conn, row, now, token)
            more = beside and not failures and has_free_step(conn, lane, now)
            return msgspec.structs.replace(sent, more=True) if more else sent
    return None


def _sent(conn: Connection, row: DueStep, now: datetime, token: str) -> Claim:
    at = ms(now)
    first = at if row.first_tried is None else row.first_tried
    post = post_of(conn, row, now)
    values: dict[str, Value] = {"step": row.id, "token": token, "now": at, "first": first}
    execute_later(conn, _SEND, values | {"post_key": post.key if post else None})
    results, unfinished = _earlier(conn, row)
    told = _awaited(conn, row)
    return Claim(
        step=row.id,
        token=token,
        key=row.key,
        rank=row.rank,
        lane=row.lane,
        action=row.action,
        params=row.params,
        match=row.match_id,
        rule=row.m_rule,
        website=row.m_website,
        subject_key=row.m_subject_key,
        summary=" · ".join(part for part in (row.m_summary, told.brief) if part),
        subject=row.m_subject or b"",
        why=(*told.lines, *msgspec.json.decode(row.m_why)),
        matched=moment(row.m_matched),
        attempts=row.attempts + 1,
        first_tried=moment(first),
        began=moment(at),
        attempted=moment_or_none(row.unknown_since if row.look_since is None else row.look_since),
        restored=row.look_since is not None and row.unknown_since is None,
        results=results,
        unfinished=unfinished,
        many=row.m_many,
        post=post,
        severity=row.m_severity,
        runbook=row.m_runbook,
        owner=row.m_owner,
    )


def _awaited(conn: Connection, row: DueStep) -> Told:
    if not row.m_rule.startswith(BUDGET):
        return Told()
    return told_of_awaited(conn, msgspec.json.decode(row.m_posting, type=Posting))


def _earlier(conn: Connection, row: DueStep) -> tuple[dict[str, str], tuple[Unfinished, ...]]:
    if not row.rank:
        return {}, ()
    here: dict[str, Value] = {"match": row.match_id, "rank": row.rank, "step": row.id}
    found = execute(conn, _UNFINISHED, here)
    results = execute(conn, _RESULTS, {"match": row.match_id})
    return dict(results), tuple(Unfinished(action, bool(dead)) for action, dead in found)


def complete(
    conn: Connection,
    claimed: Claim,
    now: datetime,
    *,
    note: str = "",
    result: str | None = None,
    follow: Sequence[NewStep] = (),
    posts: Sequence[Posted] = (),
    works: bool = True,
) -> bool:
    """The step took effect. False, and no change, if the claim is no longer ours.

    `result` is kept for later steps of the match; `follow` are added to the outbox. `posts` are
    the messages that it posted or changed. `works` says that its lane works now.
    """
    ended = _ended(
        conn, claimed, state=StepStatus.DONE, ended=ms(now), result=result, fault="", remedy=""
    )
    if ended is None:
        return False
    if claimed.action in DIGESTS.values():
        note = "; ".join((note, receipt(claimed.params)))
    if claimed.action in (*DIGESTS.values(), *AFTER_QUIET.values()):
        erase_digest(conn, claimed.step)
    if claimed.action in IRREVERSIBLE:
        forget_insights(conn, claimed.website, claimed.subject_key)
        note_deletion(conn, claimed.website, claimed.subject_key, claimed.step, now)
    keep_posts(conn, claimed.match, claimed.lane, posts, now)
    add_steps(conn, claimed.match, follow, now)
    if works and ended.lane_fails:
        lane_works(conn, claimed.lane)
    _after(conn, claimed, max(ended.left, Left.SOME) if follow else ended.left)
    if claimed.rule == OWN_RULE:
        show_outcome(conn, claimed.key, now)
    _record(conn, claimed, now, "step.done", note)
    return True


def give_up(
    conn: Connection,
    claimed: Claim,
    now: datetime,
    *,
    reason: str,
    remedy: str = "",
    cause: Cause = Cause.STEP,
) -> bool:
    """The step becomes a dead letter. False if the claim is no longer ours.

    The match's data stays until the step is retried or too old to keep.
    """
    quiet = claimed.rank == Rank.NOTICE or cause is Cause.EARLIER  # or it would never end
    told = ms(now) if quiet else 0
    dead: dict[str, Value] = {"state": StepStatus.DEAD, "ended": ms(now), "told": told}
    ended = _ended(conn, claimed, **dead, fault=reason, remedy=remedy, cause=cause)
    if ended is None:
        return False
    _after(conn, claimed, max(ended.left, Left.SOME))
    if claimed.rule == OWN_RULE:
        show_outcome(conn, claimed.key, now, reason)
    _record(conn, claimed, now, "step.dead", f"{reason}; {remedy}" if remedy else reason)
    return True


def withhold(conn: Connection, claimed: Claim, now: datetime, reason: str) -> bool:
    """The step is not performed, because it is no longer allowed. False as in `complete`."""
    ended = _ended(conn, claimed, state=StepStatus.WITHHELD, ended=ms(now), fault=reason)
    if ended is None:
        return False
    _after(conn, claimed, ended.left)
    _record(conn, claimed, now, "step.withheld", reason)
    return True


def postpone(
    conn: Connection,
    claimed: Claim,
    now: datetime,
    *,
    until: datetime | None,
    reason: str,
    attempted: datetime | None,
    absent: bool = False,
) -> bool:
    """The step is tried again at `until`. False if the claim is no longer ours.

    `until` None keeps its place at the head of its lane, which the caller pauses. `attempted`
    is the attempt whose outcome is unknown now, if there is one. `absent`: it was looked up, and
    no earlier store had done it.
    """
    values: dict[str, Value] = {
        "state": StepStatus.PENDING,
        "fault": reason,
        "unknown_since": ms_or_none(attempted),
    }
    if until is not None:
        values["due"] = ms(until)
    if absent:
        values["look_since"] = None
    if _ended(conn, claimed, **values) is None:
        return False
    _record(conn, claimed, now, "step.postponed", reason, until=until)
    return True


def recover(
    conn: Connection, now: datetime, settling: timedelta, alive: Collection[str] = ()
) -> int:
    """Steps that are `sending` and not of a bot that is `alive` were interrupted.

    Their outcome is unknown. A step that was being repeated waits until `settling` after its last
    attempt began, so that what it sent can show up. `alive` are the marks that end the tokens of
    such bots, none at the start of the only one. Returns how many steps were recovered.
    """
    claimed = execute(conn, "SELECT id, token FROM steps WHERE state = 'sending'", {})
    gone = [step for step, token in claimed if (token or "").rpartition(" ")[2] not in alive]
    if not gone:
        return 0
    # It did not begin later than now: that was a clock that is ahead of this one.
    began = case((steps.c.began > ms(now), ms(now)), else_=steps.c.began)
    settled = began + settling // timedelta(milliseconds=1)
    interrupted = (
        update(steps)
        .where(text("state = 'sending'"), steps.c.id.in_(gone))
        .values(
            state=StepStatus.PENDING,
            token=None,
            unknown_since=func.coalesce(steps.c.unknown_since, began),
            due=case(
                (steps.c.unknown_since.is_(None) | (steps.c.due > settled), steps.c.due),
                else_=settled,
            ),
        )
        .returning(steps.c.key, steps.c.match_id)
    )
    found = conn.execute(interrupted).all()
    for step in found:
        match = conn.execute(select(matches).where(matches.c.id == step.match_id)).one()
        note = Note(
            kind="step.interrupted",
            rule=match.rule,
            website=match.website,
            subject=match.subject_key,
            step=step.key,
            text="the bot stopped during the attempt; its outcome is unknown",
        )
        record(conn, now, [note])
    return len(found)


@cache
def _ending(*columns: str) -> str:
    # Built from this module's own column names; every value is a parameter.
    new = ", ".join(f"{column} = :{column}" for column in columns)
    return (
        f"UPDATE steps SET token = NULL, {new}"  # noqa: S608
        " WHERE id = :step AND token = :ours AND state = 'sending'"
        " RETURNING EXISTS (SELECT 1 FROM lanes WHERE lanes.lane = :lane AND lanes.failures > 0),"
        f" {OTHERS_LEFT}"
    )


class _Ended(Struct, frozen=True):
    """Whether the last attempt on its lane failed, and which other steps of its match are left."""

    lane_fails: bool
    left: Left


def _ended(conn: Connection, claimed: Claim, **values: Value) -> _Ended | None:
    """What is known once the step has these values; None if it is no longer this bot's."""
    ours: dict[str, Value] = {"step": claimed.step, "ours": claimed.token, "lane": claimed.lane}
    found = execute(conn, _ending(*values), ours | values).fetchone()
    return None if found is None else _Ended(bool(found[0]), Left(found[1]))


def _after(conn: Connection, claimed: Claim, left: Left) -> None:
    after_step(conn, claimed.match, left)
    if claimed.rule.startswith(BUDGET):
        release_awaiting(conn, claimed.rule)


def _record(
    conn: Connection,
    claimed: Claim,
    now: datetime,
    kind: AuditKind,
    text: str,
    until: datetime | None = None,
) -> None:
    details: dict[str, object] = {"attempt": claimed.attempts, "began": claimed.began}
    if until is not None:
        details["until"] = until
    note = of_step(kind, claimed, text, details)
    record(conn, now, [note])

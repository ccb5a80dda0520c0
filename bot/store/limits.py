"""Whether a post that is due may go out now: limits, snoozes, quiet times and schedules."""

from datetime import datetime, timedelta
from typing import assert_never

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, delete, update

from bot.actions import DIGESTS
from bot.domain.calendar import Calendar, schedule
from bot.domain.limits import (
    Held,
    Limit,
    Post,
    Reason,
    Waits,
    Window,
    admit,
    digest_waits,
)
from bot.domain.step import Rank
from bot.messages.text import instant
from bot.store.audit import record
from bot.store.digests import (
    DueStep,
    PostParams,
    edits_first,
    fold,
    folding,
    note,
    read_params,
    read_posting,
    withhold,
)
from bot.store.quiet import WEEKLY, fold_after_quiet, fold_scheduled
from bot.store.rules import snoozed_until
from bot.store.schema import digests, matches, moment, ms, steps
from bot.store.statements import Value, execute

_WINDOW = "SELECT began, used FROM windows WHERE rule = :rule AND lane = :lane"
_KEEP_WINDOW = (
    "INSERT INTO windows (rule, lane, began, used) VALUES (:rule, :lane, :began, :used)"
    " ON CONFLICT (rule, lane) DO UPDATE SET began = excluded.began, used = excluded.used"
)
_ADMITTED = "UPDATE steps SET admitted = 1 WHERE id = :step"


def held_back(conn: Connection, row: DueStep, now: datetime, calendar: Calendar) -> bool:
    """Whether a limit holds back this step, which is due; if so, that is saved.

    An attempt whose outcome is unknown is never held back: it may be posted already.
    """
    if row.rank != Rank.POST or row.unknown_since is not None or row.look_since is not None:
        return False
    try:
        return _held_back(conn, row, now, calendar)
    except msgspec.MsgspecError:
        # Not readable: the attempt will fail the same way and give it up.
        return False


def _held_back(conn: Connection, row: DueStep, now: datetime, calendar: Calendar) -> bool:
    if row.action not in (*DIGESTS, *DIGESTS.values(), WEEKLY):
        return False
    quiet = None if row.m_severity == "critical" else calendar.quiet_until(now)
    if row.fault == Reason.QUIET and quiet is None and fold_after_quiet(conn, row, now):
        return True
    if row.action == WEEKLY:
        if quiet is not None:
            _put_off(conn, row, quiet, Reason.QUIET, now)
        return quiet is not None
    if row.action in DIGESTS.values():
        return _digest_waits(conn, row, now, quiet)
    params = read_params(row.params)
    posting = read_posting(row.m_posting)
    if row.fault == Reason.QUIET:  # it was not too old when it came
        posting = replace(posting, act_up_to=None)
    at = schedule(params.digest_at).following(now, calendar.zone) if params.digest_at else None
    limit = None if row.admitted else _limit(params)
    verdict = admit(
        now,
        happened=moment(row.m_happened),
        posting=posting,
        limit=limit,
        window=open_window(conn, row.m_rule, row.lane) if limit else None,
        snoozed_until=snoozed_until(conn, row.m_rule),
        scheduled=at,
        quiet_until=quiet,
    )
    match verdict:
        case Post(window):
            if window:
                _keep_window(conn, row, window)
            if row.fault == Reason.QUIET:  # nor is it after an attempt that fails
                kept = msgspec.json.encode(posting).decode()
                conn.execute(
                    update(matches).where(matches.c.id == row.match_id).values(posting=kept)
                )
            return False
        case Waits(until):
            _put_off(conn, row, until, Reason.QUIET, now)
        case Held(reason, until, drop):
            if drop or edits_first(conn, row):
                withhold(conn, [row], reason, now)
            else:
                fold(conn, [folding(row, params.channel)], reason, until, now)
        case _:
            assert_never(verdict)
    return True


def _limit(params: PostParams) -> Limit | None:
    rate = params.at_most
    if rate is None:
        return None
    return Limit(rate.times, timedelta(milliseconds=rate.window_ms), params.overflow)


def open_window(conn: Connection, rule: str, lane: str) -> Window | None:
    """The window in which the rule's posts on the lane were counted last."""
    found = execute(conn, _WINDOW, {"rule": rule, "lane": lane}).fetchone()
    return Window(moment(found[0]), found[1]) if found else None


def _keep_window(conn: Connection, row: DueStep, window: Window) -> None:
    counted: dict[str, Value] = {"began": ms(window.began), "used": window.used}
    execute(conn, _KEEP_WINDOW, {"rule": row.m_rule, "lane": row.lane, **counted})
    # Do not count a retry of this post again.
    execute(conn, _ADMITTED, {"step": row.id})


def _digest_waits(conn: Connection, row: DueStep, now: datetime, quiet: datetime | None) -> bool:
    snoozed = snoozed_until(conn, row.m_rule)
    held = digest_waits(now, read_posting(row.m_posting), snoozed, quiet)
    if held is not None:
        _put_off(conn, row, held.until, held.reason, now)
        return True
    if row.fault == Reason.SCHEDULED and fold_scheduled(conn, row, now):
        return True
    # It is being sent now; what is held back later goes into another one.
    conn.execute(delete(digests).where(digests.c.step_id == row.id))
    return False


def _put_off(
    conn: Connection, row: DueStep, until: datetime, reason: Reason, now: datetime
) -> None:
    # What it has failed until now counts no more: it would be given up after its next try.
    anew = {"attempts": 0, "first_tried": None}
    later = update(steps).where(steps.c.id == row.id)
    conn.execute(later.values(due=ms(until), fault=str(reason), **anew))
    what = "the digest" if row.action in DIGESTS.values() else "the post"
    said = f"{what} waits until {instant(until)}: {reason}"
    record(conn, now, [note(row, "step.put_off", said)])

"""What people press on messages: kept before it is confirmed, and then done once."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, assert_never

from msgspec import Struct
from sqlalchemy import Connection, Row, func, select, update

from bot.actions.base import Action
from bot.actions.slack import Answer, Edit
from bot.actions.star import Star
from bot.actions.watched import Watched
from bot.domain.press import Button, Press, snooze_ends
from bot.domain.step import OWN_RULE
from bot.domain.subjects import RecordingSubject, Site, Subject, written
from bot.messages import message as messages
from bot.messages.message import Message
from bot.messages.presses import AT_MOUSEFLOW, LABELS, NOBODY, after, not_done, outcome
from bot.messages.text import clean, number
from bot.ports import Posted
from bot.store.audit import Note, record
from bot.store.dead_letters import dead_ids, retry, told_at
from bot.store.matches import NewMatch, NewStep, add_match
from bot.store.posts import keep_posts
from bot.store.rules import end_snooze, resume_rule, snooze
from bot.store.schema import matches, moment, ms, posts
from bot.store.schema import presses as _table
from bot.store.statements import upsert
from mouseflow.models import Recording

TOO_OLD = "This message is too old for its buttons."
TOO_LATE = "The bot learned of this too late: the snooze would be over by now."
DONE_BEFORE = "it was done before"
DONE = ""
TAKEN, ASKED = "done", "asked for"
"""How a press ends that took effect, and one of which Mouseflow must do the rest."""


_PRESS = f"{OWN_RULE}/press/"
"""How the keys of steps begin that come from presses."""


class _Pressed(Struct, frozen=True):
    """The message that was pressed, and the match that it tells of."""

    match: int
    rule: str
    kind: str
    website: str
    subject: str
    lane: str
    post: Posted


def receive(conn: Connection, press: Press) -> bool:
    """Keep the press; False if it is known already.

    Without a name it gets the one that the same person had when they pressed something earlier.
    """
    name = clean(press.name)
    if not name:
        earlier = select(_table.c.name).where(_table.c.user == press.user, _table.c.name != NOBODY)
        latest = earlier.order_by(_table.c.at.desc(), _table.c.id).limit(1)
        name = conn.execute(latest).scalar() or NOBODY
    add = upsert(_table).values(
        id=press.id,
        button=press.button,
        post_key=press.post,
        user=press.user,
        name=name,
        channel=press.channel,
        at=ms(press.at),
    )
    return conn.execute(add.on_conflict_do_nothing().returning(_table.c.id)).first() is not None


def waiting(conn: Connection) -> Sequence[Press]:
    """The presses that nobody has dealt with yet, oldest first."""
    query = select(_table).where(_table.c.ended.is_(None)).order_by(_table.c.at, _table.c.id)
    return [_press(row) for row in conn.execute(query)]


def _press(row: Row[Any]) -> Press:
    return Press(
        id=row.id,
        button=row.button,
        post=row.post_key,
        user=row.user,
        name=row.name,
        channel=row.channel,
        at=moment(row.at),
    )


def is_posted(conn: Connection, key: str) -> bool:
    """Whether the message with this key is known."""
    return _pressed(conn, key) is not None


def requeue_as_stored(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    retry(conn, now, ids=ids)


def refuse(conn: Connection, press: Press, why: str, now: datetime) -> None:
    """End the press without an effect."""
    _end(conn, press, _pressed(conn, press.post), why, now)


Requeue = Callable[[Connection, Sequence[int], datetime], object]
"""Puts dead letters back into the queue, as their rules have them now."""


def apply(
    conn: Connection, press: Press, now: datetime, zone: str, requeue: Requeue = requeue_as_stored
) -> str:
    """Do what was pressed, once, and let the message say so.

    Returns what the person is to be told; empty where the message says it.
    """
    if conn.execute(select(_table.c.ended).where(_table.c.id == press.id)).scalar() is not None:
        return DONE
    found = _pressed(conn, press.post)
    if found is None:
        _end(conn, press, None, TOO_OLD, now)
        return TOO_OLD
    shown = messages.reread(found.post.shows)
    if shown is not None and press.button not in (*shown.buttons, *shown.menu):
        _end(conn, press, found, DONE_BEFORE, now)
        return DONE
    until = snooze_ends(press.button, press.at, zone)
    if until is not None and until <= now:  # the bot was down, or Slack did not answer
        _end(conn, press, found, TOO_LATE, now)
        return TOO_LATE
    told = _take_effect(conn, press, found, shown, until, requeue, now)
    _end(conn, press, found, ASKED if press.button in AT_MOUSEFLOW else TAKEN, now)
    if shown is None:
        return f"{LABELS[press.button]}: {ASKED if press.button in AT_MOUSEFLOW else TAKEN}."
    useful = _useful(conn, found.rule) if press.button == "not_useful" else ""
    changed = after(shown, press, now, until, useful, zone)
    _show(conn, press, found, messages.kept(changed), now)
    return told


def _take_effect(
    conn: Connection,
    press: Press,
    found: _Pressed,
    shown: Message | None,
    until: datetime | None,
    requeue: Requeue,
    now: datetime,
) -> str:
    """Do what was pressed; `until` is the end of the snooze that it begins. Returns as `apply`.

    A dead letter that somebody else has retried stays retried, a rule resumed.
    """
    by = f"{press.name} in Slack"
    match press.button:
        case "ack" | "unack" | "not_useful":
            pass  # the press itself says it
        case "snooze_1h" | "snooze_tomorrow" | "unsnooze":
            for rule in dict.fromkeys((found.rule, *(shown.rules if shown else ()))):
                if until is None:
                    end_snooze(conn, rule, now, by)
                else:
                    snooze(conn, rule, until, now, by)
        case "watched" | "star":
            if found.kind == "recordings":
                action: Action = Watched() if press.button == "watched" else Star()
                subject = RecordingSubject(
                    website=Site(found.website, ""), recording=Recording(id=found.subject)
                )
                _add(conn, press, found, action, subject, action.lane(subject, ""), now)
        case "resume":
            if shown is not None:
                resume_rule(conn, shown.acts_on, now, f"by {by}")
        case "retry":
            if shown is not None and (ids := told_at(conn, int(shown.acts_on))):
                requeue(conn, ids, now)
                if left := dead_ids(conn, ids):
                    lost = "Their rules no longer ask for them."
                    return f"Not retried: {len(left)} of {len(ids)}. {lost}"
        case _:
            assert_never(press.button)
    return DONE


def show_outcome(conn: Connection, step: str, now: datetime, failed: str = "") -> None:
    """Let the message say that Mouseflow has done what was pressed, or (`failed`) why it has not.

    `step` is the key of any step of the bot's own. An answer tells a failure, since an edit
    notifies nobody.
    """
    if not step.startswith(_PRESS):
        return
    row = conn.execute(select(_table).where(_table.c.id == step.split("/")[2])).first()
    found = _pressed(conn, row.post_key) if row and row.button in AT_MOUSEFLOW else None
    if row is None or found is None or not step.endswith(f"/{row.button}-1"):
        return
    press = _press(row)
    shown = messages.reread(found.post.shows)
    settled = outcome(shown, press, now, failed) if shown else None
    if settled is not None and settled is not shown:
        _show(conn, press, found, messages.kept(settled), now, f"/{ms(now)}")
    if failed:
        _, done = AT_MOUSEFLOW[press.button]
        answer = Answer(
            channel=found.post.channel,
            post=found.post.key,
            title=not_done(done, failed),
            line=f"{press.name} asked for it.",
        )
        _add(conn, press, found, answer, _nothing(found), found.lane, now, f"/{ms(now)}")


def _nothing(found: _Pressed) -> RecordingSubject:
    return RecordingSubject(website=Site("", ""), recording=Recording(id=found.subject))


def _show(
    conn: Connection, press: Press, found: _Pressed, shows: str, now: datetime, again: str = ""
) -> None:
    shown = Posted(found.post.key, found.post.channel, found.post.stamp, shows)
    keep_posts(conn, found.match, found.lane, (shown,), now)
    edit = Edit(channel=found.post.channel, post=found.post.key)
    _add(conn, press, found, edit, _nothing(found), found.lane, now, again)


def _add(
    conn: Connection,
    press: Press,
    found: _Pressed,
    action: Action,
    subject: Subject,
    lane: str,
    now: datetime,
    again: str = "",
) -> None:
    key = f"{_PRESS}{press.id}/{action.kind}{again}"
    step = NewStep(
        key=f"{key}-1",
        rank=action.rank,
        lane=lane,
        kind=action.kind,
        params=action.stored(),
        due=now,
    )
    add_match(
        conn,
        NewMatch(
            rule=OWN_RULE,
            kind="press",
            website=found.website,
            subject_key=found.subject,
            match_key=key,
            subject=written(subject),
            matched=now,
            steps=[step],
            why=(f"{press.name} pressed {LABELS[press.button]}",),
            summary=LABELS[press.button],
        ),
    )


def _pressed(conn: Connection, key: str) -> _Pressed | None:
    query = select(posts, matches).join(matches, matches.c.id == posts.c.match_id)
    row = conn.execute(query.where(posts.c.key == key)).first()
    if row is None:
        return None
    post = Posted(row.key, row.channel, row.stamp, row.shows)
    return _Pressed(row.match_id, row.rule, row.kind, row.website, row.subject_key, row.lane, post)


def _end(
    conn: Connection, press: Press, found: _Pressed | None, outcome: str, now: datetime
) -> None:
    write = update(_table).where(_table.c.id == press.id)
    conn.execute(write.values(ended=ms(now), outcome=outcome))
    said = LABELS.get(press.button, press.button)
    note = Note(
        kind="press",
        rule=found.rule if found else "",
        website=found.website if found else "",
        subject=found.subject if found else "",
        text=f"{press.name} pressed {said}: {outcome}",
        details={"user": press.user},
    )
    record(conn, now, [note])


class Precision(Struct, frozen=True):
    """How many of a rule's messages people have not called useless, of how many."""

    useful: int
    of: int

    @property
    def text(self) -> str:
        """`89 % useful (42 of 47)`."""
        percent = 100 * self.useful // self.of if self.of else 100
        return f"{percent} % useful ({number(self.useful)} of {number(self.of)})"


def precision(conn: Connection, rule: str = "") -> dict[str, Precision]:
    """How useful each rule is that somebody has called not useful, by what the store keeps.

    With `rule` that one alone.
    """
    useless = (
        select(_table.c.post_key)
        .where(_table.c.button == "not_useful", _table.c.outcome == TAKEN)
        .distinct()
    )
    called = (
        select(matches.c.rule)
        .join(posts, posts.c.match_id == matches.c.id)
        .where(posts.c.key.in_(useless))
    )
    query = (
        select(
            matches.c.rule,
            func.count(),
            func.count().filter(posts.c.key.in_(useless)),
        )
        .select_from(posts.join(matches, matches.c.id == posts.c.match_id))
        .where(matches.c.rule.in_(called))
        .group_by(matches.c.rule)
    )
    if rule:
        query = query.where(matches.c.rule == rule)
    return {
        each: Precision(total - wrong, total) for each, total, wrong in conn.execute(query) if wrong
    }


def useless(conn: Connection, rule: str) -> Sequence[tuple[str, str]]:
    """The recordings (website, id) of which a message of the rule was called not useful."""
    query = (
        select(matches.c.website, matches.c.subject_key)
        .join(posts, posts.c.match_id == matches.c.id)
        .join(_table, _table.c.post_key == posts.c.key)
        .where(
            matches.c.rule == rule,
            matches.c.kind == "recordings",
            _table.c.button == "not_useful",
            _table.c.outcome == TAKEN,
        )
        .order_by(_table.c.at)
    )
    rows = [(row.website, row.subject_key) for row in conn.execute(query)]
    return tuple(dict.fromkeys(rows))


def _useful(conn: Connection, rule: str) -> str:
    known = precision(conn, rule).get(rule)
    return f" {rule} is {known.text}." if known else ""


class Acknowledged(Struct, frozen=True):
    """Who acknowledged an alert, and when."""

    name: str
    at: datetime


def acknowledged(
    conn: Connection, rule: str, website: str, subject: str, matched: datetime
) -> Acknowledged | None:
    """Who has acknowledged the alert that fired then, and wants no more reminders; None: nobody.

    Also on a reminder: it has buttons where the first message is gone.
    """
    wanted: tuple[Button, ...] = ("ack", "unack")
    query = (
        select(_table.c.button, _table.c.name, _table.c.at)
        .join(posts, posts.c.key == _table.c.post_key)
        .join(matches, matches.c.id == posts.c.match_id)
        .where(
            matches.c.rule == rule,
            matches.c.website == website,
            matches.c.subject_key == subject,
            matches.c.matched >= ms(matched),
            _table.c.button.in_(wanted),
            _table.c.outcome == TAKEN,
        )
        .order_by(_table.c.ended.desc(), _table.c.at.desc())
        .limit(1)
    )
    row = conn.execute(query).first()
    return Acknowledged(row.name, moment(row.at)) if row and row.button == "ack" else None

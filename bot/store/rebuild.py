"""Steps that are rebuilt from their rule, and what of them depends on the rule's limits."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Label, literal_column, select, text, update

from bot.domain.alert_state import NEWS, RESOLVED
from bot.domain.limits import Limit, Posting, Reason, Window
from bot.store.audit import of_step, record
from bot.store.lanes import add_lanes
from bot.store.schema import digests, matches, moment, ms, steps, windows
from bot.store.statements import Value, execute_many

_OVER: Label[bool] = literal_column(
    "(matches.kind NOT IN ('digest', 'press')"  # noqa: S608
    " AND EXISTS (SELECT 1 FROM levels WHERE levels.rule = matches.rule"
    " AND levels.website = matches.website AND levels.subject = matches.subject_key"
    " AND (levels.fired IS NULL OR levels.fired > matches.matched))"
    f" AND matches.key NOT LIKE '%{RESOLVED}' AND matches.why NOT LIKE '[\"{NEWS}%')"
).label("over")
"""Whether it tells of an alert as if it fired still, though it is over. News is no alert, and a
digest says how many have ended."""

AT_ONCE = 250
"""How many steps one transaction rebuilds, so that other work does not wait long."""


class StoredStep(Struct, frozen=True, kw_only=True):
    """A step as it is stored, with the `subject` of its match.

    `follows`: it came from another step. `siblings` are the parameters of the other steps of
    its kind and match. `unknown`: an attempt may have taken effect. `over`: it tells of an alert
    that is over.
    """

    id: int
    key: str
    rule: str
    website: str
    subject_key: str
    lane: str
    action: str
    params: str
    subject: bytes
    follows: bool
    unknown: bool
    over: bool
    siblings: tuple[str, ...]

    @property
    def channel(self) -> str:
        """The channel in its parameters, empty if there is none."""
        found = msgspec.json.decode(self.params)
        channel = found.get("channel") if isinstance(found, dict) else None
        return channel if isinstance(channel, str) else ""


def stored_steps(
    conn: Connection,
    state: Literal["dead", "pending"],
    *,
    ids: Collection[int] = (),
    rules: Collection[str] = (),
    after: int = 0,
) -> list[StoredStep]:
    """The next steps after that id, in their order: those given, without any names all."""
    query = (
        select(
            steps,
            matches.c.key.label("match_key"),
            matches.c.rule,
            matches.c.website,
            matches.c.subject_key,
            matches.c.subject,
            _OVER,
        )
        .join(matches, matches.c.id == steps.c.match_id)
        .where(text(f"steps.state = '{state}'"), steps.c.id > after)
        .order_by(steps.c.id)
        .limit(AT_ONCE)
    )
    if ids or rules:
        query = query.where(steps.c.id.in_(ids) | matches.c.rule.in_(rules))
    found = conn.execute(query).all()
    siblings = defaultdict[int, list[str]](list)
    for step, params in conn.execute(_SIBLINGS.where(steps.c.id.in_([row.id for row in found]))):
        siblings[step].append(params)
    return [
        StoredStep(
            id=row.id,
            key=row.key,
            rule=row.rule,
            website=row.website,
            subject_key=row.subject_key,
            lane=row.lane,
            action=row.action,
            params=row.params,
            subject=row.subject or b"",
            follows="/" in row.key.removeprefix(f"{row.match_key}/"),
            unknown=row.unknown_since is not None,
            over=bool(row.over),
            siblings=tuple(siblings[row.id]),
        )
        for row in found
    ]


_OTHER = steps.alias("other")
_SIBLINGS = select(steps.c.id, _OTHER.c.params).join(
    _OTHER,
    (_OTHER.c.match_id == steps.c.match_id)
    & (_OTHER.c.action == steps.c.action)
    & (_OTHER.c.id != steps.c.id),
)
_ANEW = "UPDATE steps SET params = :params, lane = :lane WHERE id = :step"


def put_anew(conn: Connection, anew: Sequence[tuple[StoredStep, str, str]], now: datetime) -> None:
    """Save each step with the parameters and the lane that its rule now gives it."""
    if not anew:
        return
    add_lanes(conn, {lane for *_, lane in anew})
    rows: list[dict[str, Value]] = [
        {"step": step.id, "params": params, "lane": lane} for step, params, lane in anew
    ]
    execute_many(conn, _ANEW, rows)
    notes = [
        of_step("step.rebuilt", step, f"rebuilt from the rule as it is now, for {lane}")
        for step, _params, lane in anew
    ]
    record(conn, now, notes)


def use_limits(
    conn: Connection,
    postings: Mapping[str, Posting],
    limits: Mapping[str, Mapping[str, Limit | None]],
    now: datetime,
) -> None:
    """Apply the limits of changed rules to what they hold back.

    `postings` by rule; `limits` by rule and lane. A digest that may go out sooner does so;
    active hours and a snooze are looked at again when it is due.
    """
    for rule, posting in postings.items():
        mine = matches.c.rule == rule
        written = msgspec.json.encode(posting).decode()
        conn.execute(update(matches).where(mine, _WAITING).values(posting=written))
    query = (
        select(digests.c.rule, digests.c.lane, digests.c.step_id, steps.c.due)
        .join(steps, steps.c.id == digests.c.step_id)
        .where(digests.c.rule.in_(postings), steps.c.fault != str(Reason.SCHEDULED))
    )
    for row in conn.execute(query).all():
        due = _due(_window(conn, row.rule, row.lane), limits[row.rule].get(row.lane), now)
        if ms(due) < row.due:
            conn.execute(update(steps).where(steps.c.id == row.step_id).values(due=ms(due)))


_WAITING = text(
    "EXISTS (SELECT 1 FROM steps WHERE steps.match_id = matches.id AND steps.state = 'pending')"
)


def _window(conn: Connection, rule: str, lane: str) -> Window | None:
    query = select(windows.c.began, windows.c.used)
    found = conn.execute(query.where(windows.c.rule == rule, windows.c.lane == lane)).first()
    return Window(moment(found.began), found.used) if found else None


def _due(window: Window | None, limit: Limit | None, now: datetime) -> datetime:
    if window is None or limit is None or window.used < limit.times:
        return now
    return max(now, min(window.began, now) + limit.window)


def clock_set_back(conn: Connection, now: datetime, longest: timedelta) -> None:
    """Bring back what lies in the future because the clock was ahead.

    A window begins now at the latest, as do a snooze and an attempt whose outcome is unknown, the
    safety of a rule counts from now at the latest, and no lane or retry waits longer than
    `longest`.
    """
    values = {"now": ms(now), "far": ms(now + longest), "never": ms(now + timedelta(days=36500))}
    for repair in _REPAIRS:
        conn.execute(repair, values)


_REPAIRS = (
    text("UPDATE windows SET began = :now WHERE began > :now"),
    text("UPDATE rule_states SET released_at = :now WHERE released_at > :now"),
    text("UPDATE rule_states SET since = :now WHERE since > :now"),
    text(
        "UPDATE rule_states SET snoozed_until = snoozed_until - snoozed_at + :now,"
        " snoozed_at = :now WHERE snoozed_at > :now"
    ),
    text("UPDATE lanes SET paused_until = :far WHERE paused_until > :far"),
    text("UPDATE lanes SET since = :now WHERE since > :now"),
    text("UPDATE steps SET unknown_since = :now WHERE state = 'pending' AND unknown_since > :now"),
    text(
        "UPDATE steps SET due = :now WHERE state = 'pending' AND attempts > 0 AND due > :far"
        " AND due < :never AND action <> 'digest'"
    ),
    text(
        "UPDATE steps SET created = :now,"
        " due = CASE WHEN due > created THEN due - created + :now ELSE :now END"
        " WHERE state = 'pending' AND rank = 2 AND created > :now AND due < :never"
    ),
)

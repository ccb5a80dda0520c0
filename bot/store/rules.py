"""The state of a rule beside its matches, and the rule files that are in force."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, case, delete, exists, func, select, text, update

from bot.domain.alert_state import REMINDED, RESOLVED
from bot.domain.limits import Reason
from bot.domain.step import StepStatus
from bot.messages.text import clean, instant, on_behalf
from bot.store.audit import Note, history, record
from bot.store.recordings import (
    forget_watermark,
    set_watermark,
    watermarks_of,
)
from bot.store.schema import (
    digests,
    matches,
    moment,
    moment_or_none,
    ms,
    once,
    rules_in_force,
    steps,
    tallies,
)
from bot.store.schema import rule_states as _table
from bot.store.statements import Value, execute, execute_many, upsert


class Group(Struct, frozen=True):
    """The subjects that have this value in this field, as `once_per` and `count` group them.

    `condition` is the one that they meet, where those that meet another are no part of it.
    """

    field: str
    value: str
    condition: str = ""

    @property
    def key(self) -> bytes:
        """What the store keeps of it: a hash, since the value may be personal."""
        # Without the rule's id, so that a renamed rule still knows the values.
        return _hash(f"{self.field}={self.value}{self.condition and f' {self.condition}'}")

    @property
    def key_of_format_1(self) -> bytes:
        """What format 1 of the store kept of it."""
        return _hash(self.value)


def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def once_near(conn: Connection, rule: str, group: Group, at: datetime, window: timedelta) -> bool:
    """Whether the rule acted for this group less than the window before then, or after."""
    query = select(once.c.at).where(
        once.c.rule == rule,
        once.c.value.in_((group.key, group.key_of_format_1)),
        once.c.at > ms(at - window),
        once.c.at < ms(at + window),
    )
    return conn.execute(query.limit(1)).scalar() is not None


def once_mark(conn: Connection, rule: str, group: Group, at: datetime, window: timedelta) -> None:
    """Remember when the rule acted for this group, at least for the window."""
    write = upsert(once).values(rule=rule, value=group.key, at=ms(at), until=ms(at + window))
    new = write.excluded.until
    conn.execute(
        write.on_conflict_do_update(
            index_elements=["rule", "value", "at"],
            set_={"until": case((once.c.until > new, once.c.until), else_=new)},
        )
    )


def tally(
    conn: Connection,
    rule: str,
    group: Group,
    subject: str,
    at: datetime,
    within: timedelta,
    glimpse: bytes | None = None,
) -> Sequence[tuple[datetime, bytes | None]]:
    """Count the subject under this group; returns when the subjects near it were, oldest first.

    Near are those within that time before or after it. A subject counts once, however often
    this is called. `glimpse` is what a list shows of it, which is returned beside each.
    """
    tally_one(conn, rule, group, subject, at, glimpse)
    key = group.key
    query = select(tallies.c.at, tallies.c.glimpse).where(
        *_tallied(rule, key, at - within), tallies.c.at <= ms(at + within)
    )
    rows = conn.execute(query.order_by(tallies.c.at))
    return [(moment(each.at), each.glimpse) for each in rows]


def tally_one(
    conn: Connection,
    rule: str,
    group: Group,
    subject: str,
    at: datetime,
    glimpse: bytes | None = None,
) -> None:
    """Count the subject under this group."""
    write = upsert(tallies).values(
        rule=rule, value=group.key, subject=subject, at=ms(at), glimpse=glimpse
    )
    conn.execute(write.on_conflict_do_nothing())


def tallied(conn: Connection, rule: str, group: Group, since: datetime) -> int:
    """How many subjects of this group were counted since then."""
    query = select(func.count()).select_from(tallies).where(*_tallied(rule, group.key, since))
    return conn.execute(query).scalar_one()


def tally_clear(conn: Connection, rule: str, group: Group, until: datetime) -> None:
    """Restart the count of this group after its match: what was until then counts no more."""
    conn.execute(
        delete(tallies).where(
            tallies.c.rule == rule, tallies.c.value == group.key, tallies.c.at <= ms(until)
        )
    )


def _tallied(rule: str, key: bytes, since: datetime) -> tuple[ColumnElement[bool], ...]:
    return tallies.c.rule == rule, tallies.c.value == key, tallies.c.at >= ms(since)


LONGEST_WAIT = timedelta(days=7)


class RuleState(Struct, frozen=True, kw_only=True):
    """`digest` is the fingerprint of the rule as it last ran; `paused_why` says what paused it.

    `snoozed_at` is when the snooze began, None once its end is in the audit log; `snoozed_by` and
    `snoozed_because` say who began it and why, where that is known. `released_at` is
    when the rule was last edited or released from a pause: its safety counts from then. `since` is
    when it was first active, None if that was under an earlier version.
    """

    rule: str
    digest: str = ""
    paused_at: datetime | None = None
    paused_why: str = ""
    snoozed_until: datetime | None = None
    snoozed_at: datetime | None = None
    snoozed_by: str = ""
    snoozed_because: str = ""
    released_at: datetime | None = None
    since: datetime | None = None


def rule_states(conn: Connection) -> dict[str, RuleState]:
    """The state of each known rule, by id."""
    return {
        row.rule: RuleState(
            rule=row.rule,
            digest=row.digest,
            paused_at=moment_or_none(row.paused_at),
            paused_why=row.paused_why,
            snoozed_until=moment_or_none(row.snoozed_until),
            snoozed_at=moment_or_none(row.snoozed_at),
            snoozed_by=row.snoozed_by,
            snoozed_because=row.snoozed_because,
            released_at=moment_or_none(row.released_at),
            since=moment_or_none(row.since),
        )
        for row in conn.execute(select(_table))
    }


def rules_loaded(conn: Connection, digests: Mapping[str, str], at: datetime) -> frozenset[str]:
    """Save the active rules (id -> fingerprint); returns those that changed.

    They are returned again until `steps_rebuilt`, so that what waits follows an edit also after a
    kill. A paused rule runs again after an edit, and the safety of an edited rule starts at zero.
    """
    known = rule_states(conn)
    changed = {
        rule for rule, digest in digests.items() if rule in known and known[rule].digest != digest
    }
    new: list[dict[str, Value]] = [
        {"rule": rule, "digest": digest, "at": ms(at)}
        for rule, digest in digests.items()
        if rule not in known or rule in changed
    ]
    if new:
        execute_many(conn, _DIGEST, new)
    record(conn, at, [Note(kind="rule.edited", rule=rule) for rule in sorted(changed)])
    for rule in sorted(changed):
        _save(conn, rule, released_at=ms(at), outdated=1)
        if known[rule].paused_at is not None:
            resume_rule(conn, rule, at, "the rule was edited")
    outdated = conn.execute(select(_table.c.rule).where(_table.c.outdated == 1)).scalars()
    return frozenset(outdated).intersection(digests)


def on_their_way(conn: Connection, rules: Collection[str]) -> frozenset[str]:
    """Of which of these rules a step is on its way: it is as its rule was, and may wait again."""
    sending = select(matches.c.rule).join(steps, steps.c.match_id == matches.c.id).distinct()
    query = sending.where(text("steps.state = 'sending'"), matches.c.rule.in_(rules))
    return frozenset(conn.execute(query).scalars())


def steps_rebuilt(conn: Connection, rules: Collection[str]) -> None:
    """All steps of these rules are as the rules are now."""
    done = update(_table).where(_table.c.rule.in_(rules), _table.c.outdated == 1)
    conn.execute(done.values(outdated=0))


_DIGEST = (
    "INSERT INTO rule_states (rule, digest, since) VALUES (:rule, :digest, :at)"
    " ON CONFLICT (rule) DO UPDATE SET digest = :digest"
)

RuleFiles = Sequence[tuple[str, bytes]]
"""Rule files as (name, content)."""


def keep_rule_files(conn: Connection, files: RuleFiles, at: datetime) -> None:
    """Keep the files of the active rules, for a start at which the files have errors."""
    packed = zlib.compress(msgspec.msgpack.encode(files))
    write = upsert(rules_in_force).values(id=1, at=ms(at), files=packed)
    conn.execute(
        write.on_conflict_do_update(index_elements=["id"], set_={"at": ms(at), "files": packed})
    )


def kept_rule_files(conn: Connection) -> RuleFiles:
    """The files of the rules that were active last; empty if there are none."""
    packed = conn.execute(select(rules_in_force.c.files)).scalar_one_or_none()
    return msgspec.msgpack.decode(zlib.decompress(packed), type=_Files) if packed else ()


_Files = tuple[tuple[str, bytes], ...]


class RejectedRules(Struct, frozen=True):
    """Errors of rule files that are not active. `incomplete`: those of the other files are.

    Else the rules of before are active.
    """

    at: datetime
    faults: Sequence[str]
    incomplete: bool = False

    @property
    def title(self) -> str:
        """The headline of the message about it."""
        if self.incomplete:
            return "Some rule files not loaded: they have errors. The others are active."
        return "New rules not loaded: they have errors. The previous rules stay active."


_REJECTED: Final = "rules.reload_failed"


def reject_rules(conn: Connection, rejected: RejectedRules) -> None:
    """Note that the rule files have errors, for `rejected_rules`."""
    faults = list(rejected.faults)
    details = {"faults": faults, "incomplete": rejected.incomplete}
    record(conn, rejected.at, [Note(kind=_REJECTED, text=faults[0], details=details)])


def rejected_rules(conn: Connection) -> RejectedRules | None:
    """The errors of the latest rule files, None if these are active."""
    latest = history(conn, kind="rules", limit=1)
    if not latest or latest[0].kind != _REJECTED:
        return None
    faults = latest[0].details.get("faults")
    return RejectedRules(
        latest[0].at,
        tuple(faults) if isinstance(faults, list) else (latest[0].text,),
        latest[0].details.get("incomplete") is True,
    )


class BrokenConfiguration(Struct, frozen=True, kw_only=True):
    """Why the configuration could not be read again, and since when.

    `bot` names the one whose configuration it is, of several on the store. `removed`: it can be
    read, but the account is gone from it.
    """

    since: datetime
    reason: str
    removed: bool = False
    bot: str = ""

    @property
    def title(self) -> str:
        """The headline of the message about it."""
        if self.removed:
            return f"{self.reason}. It runs until the bot restarts."
        whose = f" of the bot {self.bot}" if self.bot else ""
        return f"Configuration{whose} not reloaded: it has errors. The previous one stays active."

    @property
    def remedy(self) -> str:
        """What to do."""
        if self.removed:
            return "Restart the bot to end it, or add it again and reload with SIGHUP."
        return "Correct it, then reload with SIGHUP. A restart would fail."


_CONFIGURATION = "configuration"


def note_configuration(
    conn: Connection, mark: str, broken: BrokenConfiguration | None, there: Collection[str]
) -> Mapping[str, BrokenConfiguration]:
    """Keep why the bot of that mark can't read its configuration, None if it can.

    Returns what is over with that, by mark: what it was before, and that of bots not `there`.
    """
    known = broken_configurations(conn)
    same = broken is not None and mark in known and known[mark].reason == broken.reason
    over = {
        bot: it
        for bot, it in known.items()
        if (bot == mark and not same) or bot not in {mark, *there}
    }
    for bot in over:
        forget_watermark(conn, _CONFIGURATION, bot)
    if broken is not None and not same:
        data = msgspec.json.encode(broken).decode()
        set_watermark(conn, _CONFIGURATION, mark, data, broken.since)
    return over


def broken_configurations(conn: Connection) -> Mapping[str, BrokenConfiguration]:
    """What is wrong with the configuration, by the mark of the bot that could not read it."""
    found = {}
    for mark, data in watermarks_of(conn, _CONFIGURATION).items():
        with suppress(msgspec.MsgspecError):  # of another version
            found[mark] = msgspec.json.decode(data, type=BrokenConfiguration)
    return found


def broken_configuration(conn: Connection) -> BrokenConfiguration | None:
    """What has been wrong with the configuration for longest, None if all is well."""
    known = broken_configurations(conn).values()
    return min(known, key=lambda it: it.since, default=None)


def paused_rules(conn: Connection) -> set[str]:
    """The rules that their safety has paused."""
    return {rule for (rule,) in execute(conn, _PAUSED, {})}


_PAUSED = "SELECT rule FROM rule_states WHERE paused_at IS NOT NULL"


def pause_rule(conn: Connection, rule: str, reason: str, at: datetime) -> bool:
    """Pause the rule until `resume_rule`; False if it was paused already."""
    state = rule_states(conn).get(rule)
    if state and state.paused_at is not None:
        return False
    _save(conn, rule, paused_at=ms(at), paused_why=reason)
    record(conn, at, [Note(kind="rule.paused", rule=rule, text=reason)])
    return True


def resume_rule(conn: Connection, rule: str, at: datetime, reason: str) -> bool:
    """Let a paused rule run again, its safety starting at zero; False if it was not paused."""
    write = (
        update(_table)
        .where(_table.c.rule == rule, _table.c.paused_at.is_not(None))
        .values(paused_at=None, paused_why="", released_at=ms(at))
    )
    resumed = conn.execute(write).rowcount == 1
    if resumed:
        record(conn, at, [Note(kind="rule.resumed", rule=rule, text=reason)])
    return resumed


MOST_BY, MOST_BECAUSE = 60, 200
"""How long a name and a reason of a snooze are at most; the rest is cut."""


def snooze(
    conn: Connection, rule: str, until: datetime, at: datetime, by: str = "", because: str = ""
) -> None:
    """Hold the rule's posts back until then; they are posted as one digest when it ends.

    Extends or shortens a present snooze. `by` is who does it, `because` why.
    """
    by, because = clean(by, MOST_BY), clean(because, MOST_BECAUSE)
    note_ended_snoozes(conn, at)
    now = _snooze(conn, rule)
    began = now[1] if now else at
    about = {"snoozed_by": by, "snoozed_because": because}
    _save(conn, rule, snoozed_until=ms(until), snoozed_at=ms(began), **about)
    if now and until < now[0]:
        _bring_forward(conn, rule, now[0], until)
    said = f"posts are held back until {instant(until)}{on_behalf(by, because)}"
    details = {name: it for name, it in (("by", by), ("because", because)) if it}
    record(conn, at, [Note(kind="rule.snoozed", rule=rule, text=said, details=details)])


def end_snooze(
    conn: Connection, rule: str, at: datetime, by: str = "", because: str = ""
) -> int | None:
    """End the rule's snooze early; returns how many posts it has held back.

    None if the rule was not snoozed. The digest of what was held back is due at once. `by` is who
    does it, `because` why.
    """
    by, because = clean(by, MOST_BY), clean(because, MOST_BECAUSE)
    note_ended_snoozes(conn, at)
    now = _snooze(conn, rule)
    if now is None:
        return None
    ended = {"snoozed_until": ms(at), "snoozed_at": None}
    conn.execute(update(_table).where(_table.c.rule == rule).values(**ended))
    _bring_forward(conn, rule, now[0], at)
    held = withheld(conn, rule, now[1], Reason.SNOOZED)
    said = f"ended{on_behalf(by or 'hand', because)}; posts held back: {held}"
    details = {name: it for name, it in (("by", by), ("because", because)) if it}
    record(conn, at, [Note(kind="rule.snooze_ended", rule=rule, text=said, details=details)])
    return held


def _snooze(conn: Connection, rule: str) -> tuple[datetime, datetime] | None:
    """When the rule's snooze ends and began; None if its end is already in the audit log."""
    query = select(_table.c.snoozed_until, _table.c.snoozed_at).where(_table.c.rule == rule)
    found = conn.execute(query).first()
    if found is None or found.snoozed_at is None:
        return None
    return moment(found.snoozed_until), moment(found.snoozed_at)


def _bring_forward(conn: Connection, rule: str, due: datetime, to: datetime) -> None:
    """Make the digests that were due at the end of the snooze due earlier."""
    waiting = select(digests.c.step_id).where(digests.c.rule == rule)
    those = update(steps).where(steps.c.id.in_(waiting), steps.c.due == ms(due))
    conn.execute(those.values(due=ms(to)))


def has_ended_snooze(conn: Connection, now: datetime) -> bool:
    """Whether a snooze has expired of which the audit log does not say so."""
    return conn.execute(_OVER, {"now": ms(now)}).first() is not None


def note_ended_snoozes(conn: Connection, now: datetime) -> None:
    """Record once in the audit log that a snooze has expired."""
    for rule, until, since in conn.execute(_OVER, {"now": ms(now)}).all():
        conn.execute(update(_table).where(_table.c.rule == rule).values(snoozed_at=None))
        held = withheld(conn, rule, moment(since), Reason.SNOOZED)
        said = f"expired at {instant(moment(until))}; posts held back: {held}"
        record(conn, now, [Note(kind="rule.snooze_ended", rule=rule, text=said)])


_OVER = text(
    "SELECT rule, snoozed_until, snoozed_at FROM rule_states"
    " WHERE snoozed_at IS NOT NULL AND snoozed_until <= :now"
)


_SNOOZED = "SELECT snoozed_until FROM rule_states WHERE rule = :rule"


def snoozed_until(conn: Connection, rule: str) -> datetime | None:
    """When the rule's snooze ends or ended; None if it never had one."""
    found = execute(conn, _SNOOZED, {"rule": rule}).fetchone()
    return moment_or_none(found[0]) if found else None


def snoozer(conn: Connection, rule: str) -> str:
    """Who snoozed the rule last, and why: ` by Kim: release`, as far as it is known."""
    about = select(_table.c.snoozed_by, _table.c.snoozed_because).where(_table.c.rule == rule)
    found = conn.execute(about).first()
    return on_behalf(*found) if found else ""


def _matched(rule: str, since: datetime) -> tuple[ColumnElement[bool], ...]:
    at = ms(since)
    return matches.c.rule == rule, matches.c.matched >= at, matches.c.happened >= at


_BEGINNINGS = (matches.c.key.not_like(f"%{RESOLVED}"), matches.c.key.not_like(f"%{REMINDED}"))


def matches_since(conn: Connection, rule: str, since: datetime) -> int:
    """How many events since then the rule has matched, without reminders and ends of alerts."""
    query = select(func.count()).where(*_matched(rule, since), *_BEGINNINGS)
    return conn.execute(query).scalar_one()


class MatchCounts(Struct, frozen=True):
    """How many events a rule has matched, since a moment and in all, and how many alerts ended.

    Of an alert, its beginning counts; its reminders don't.
    """

    kept: int = 0
    lately: int = 0
    ended: int = 0


def match_counts(conn: Connection, since: datetime) -> dict[str, MatchCounts]:
    """The counts of every rule that has matched, by rule; those from `since` on are `lately`."""
    kept = dict(execute(conn, _KEPT, {}).fetchall())
    alerts = {rule: rest for rule, *rest in execute(conn, _OF_ALERTS, _SUFFIXES)}
    lately = dict(execute(conn, _LATELY, {**_SUFFIXES, "at": ms(since)}).fetchall())
    found = {}
    for rule, count in kept.items():
        ended, reminded = alerts.get(rule, (0, 0))
        found[rule] = MatchCounts(count - ended - reminded, lately.get(rule, 0), ended)
    return found


_SUFFIXES: Mapping[str, Value] = {"resolved": f"%{RESOLVED}", "reminded": f"%{REMINDED}"}
# An index answers each, but for alerts and the matches of the last day.
_KEPT = "SELECT rule, count(*) FROM matches GROUP BY rule"
_OF_ALERTS = (
    "SELECT rule, count(*) FILTER (WHERE key LIKE :resolved),"
    " count(*) FILTER (WHERE key LIKE :reminded) FROM matches"
    " WHERE kind <> 'recordings' GROUP BY rule"
)
_LATELY = (
    "SELECT rule, count(*) FROM matches INDEXED BY matches_age"
    " WHERE matched >= :at AND happened >= :at"
    " AND key NOT LIKE :resolved AND key NOT LIKE :reminded GROUP BY rule"
)


def acted_within(
    conn: Connection, rule: str, window: timedelta, now: datetime, happened: datetime
) -> int:
    """How many matches within the window led to actions, for the rule's safety limit.

    Each stands for the time at which its event took place: what was older than the window when it
    matched does not count, nor what took place longer than the window before `happened`. Matches
    from before the rule was last edited or released from a pause do not count, and neither do
    reminders of an alert and its end.
    """
    released = select(_table.c.released_at).where(_table.c.rule == rule).scalar_subquery()
    query = select(func.count()).where(
        matches.c.rule == rule,
        matches.c.matched >= ms(now - window),
        matches.c.matched >= func.coalesce(released, 0),
        matches.c.happened >= ms(happened - window),
        matches.c.matched - matches.c.happened <= window // timedelta(milliseconds=1),
        *_BEGINNINGS,
        exists().where(steps.c.match_id == matches.c.id),
    )
    return conn.execute(query).scalar_one()


def withheld(conn: Connection, rule: str, since: datetime, reason: Reason) -> int:
    """How many of the rule's posts were held back since then for that reason."""
    query = (
        select(func.count())
        .select_from(steps.join(matches))
        .where(
            matches.c.rule == rule,
            # No post waits longer than that, so older matches need not be read.
            matches.c.matched >= ms(since - LONGEST_WAIT),
            steps.c.ended >= ms(since),
            steps.c.fault == str(reason),
            steps.c.state.in_((StepStatus.FOLDED, StepStatus.WITHHELD)),
        )
    )
    return conn.execute(query).scalar_one()


def _save(conn: Connection, rule: str, **values: int | str) -> None:
    write = upsert(_table).values(rule=rule, **values)
    conn.execute(write.on_conflict_do_update(index_elements=["rule"], set_=values))

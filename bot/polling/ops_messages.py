"""News of the bot itself, for the people who run it: posted through the outbox like any other."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

from bot.actions.slack import Notice
from bot.domain.subjects import Site, WebsiteSubject, written
from bot.store import Connection
from bot.store.audit import Note, record
from bot.store.matches import NewMatch, NewStep, add_match

RULE = "mouseflow-bot"
"""The rule that notices belong to in the audit log; no file can name one so."""


def notice(
    title: str, lines: Sequence[str], now: datetime, channel: str, site: Site | None = None
) -> NewMatch:
    """A notice as a match with one post; the same notice within one second is the same."""
    about = site or Site(id="", name="")
    said = blake2b("\n".join((title, *lines)).encode(), digest_size=8).hexdigest()
    key = f"{RULE}/{about.id}/{now:%Y%m%dT%H%M%S}/{said}"
    subject = WebsiteSubject(website=about)
    action = Notice(title=title, lines=tuple(lines), channel=channel)
    step = NewStep(
        key=f"{key}/{action.kind}-1",
        rank=action.rank,
        lane=action.lane(subject, channel),
        kind=action.kind,
        params=action.model_dump_json(),
        due=now,
    )
    return NewMatch(
        rule=RULE,
        kind="websites",
        website=about.id,
        subject_key=said,
        match_key=key,
        subject=written(subject),
        matched=now,
        steps=[step],
        why=(title,),
        summary=title,
    )


def announce(
    conn: Connection,
    title: str,
    lines: Sequence[str],
    now: datetime,
    channel: str | None,
    site: Site | None = None,
) -> None:
    """Write the news into the audit log and, where there is a channel for it, into the outbox.

    Belongs into the transaction of what it tells about: then neither is there without the other.
    """
    website = site.id if site else ""
    told = Note(kind="notice", website=website, text=title, details={"lines": list(lines)})
    record(conn, now, [told])
    if channel is not None:
        add_match(conn, notice(title, lines, now, channel, site))

"""Messages about the bot itself for the ops channel, posted through the outbox like any other."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

from msgspec.structs import replace

from bot.actions.slack import Edit, Notice
from bot.domain.alert_state import RESOLVED
from bot.domain.press import Offer
from bot.domain.step import OWN_RULE
from bot.domain.subjects import Site, WebsiteSubject, written
from bot.messages import compose
from bot.messages.message import kept
from bot.ports import Ports, Task
from bot.store import Connection
from bot.store.audit import Note, record
from bot.store.cancel import take_back_posts
from bot.store.matches import NewMatch, NewStep, add_match, begun_at
from bot.store.posts import keep_posts, posts_of


def notice(
    title: str,
    lines: Sequence[str],
    now: datetime,
    channel: str,
    site: Site | None = None,
    page: str = "",
    offer: Offer | None = None,
    about: str = "",
    ends: bool = False,
    begun: datetime | None = None,
    grey: str = "",
    rules: tuple[str, ...] = (),
) -> NewMatch:
    """A notice as a match with one post; the same notice within one second is the same.

    `page` is the path of a page of the status page that says more, `offer` what can be pressed,
    `grey` the last line: since when, which rules; `rules` are those (or budgets) that it links.
    `about` names the trouble of which it tells the beginning or (`ends`) the end: that answers
    the message of `begun`, which then says so too.
    """
    where = site or Site(id="", name="")
    said = _hashed("\n".join((title, *lines, *filter(None, (grey, about)))))
    end = RESOLVED if ends else ""
    key = f"{OWN_RULE}/{where.id}/{now:%Y%m%dT%H%M%S}/{said}{end}"
    subject = WebsiteSubject(website=where)
    action = Notice(
        title=title,
        lines=tuple(lines),
        grey=grey,
        channel=channel,
        page=page,
        button=offer.button if offer else None,
        acts_on=offer.on if offer else "",
        rules=offer.rules if offer else rules,
        label=offer.label if offer else "",
        about=about,
    )
    step = NewStep(
        key=f"{key}/{action.kind}-1",
        rank=action.rank,
        lane=action.lane(subject, channel),
        kind=action.kind,
        params=action.stored(),
        due=now,
    )
    return NewMatch(
        rule=OWN_RULE,
        kind="websites",
        website=where.id,
        subject_key=_hashed(about) if about else said,
        match_key=key,
        subject=written(subject),
        matched=now,
        steps=[step],
        why=(title,),
        summary=title,
        continues=begun,
    )


def _hashed(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


async def post_directly(
    title: str,
    lines: Sequence[str],
    now: datetime,
    channel: str,
    ports: Ports,
    grey: str = "",
) -> None:
    """Post a message without the store, which is what it is about; raises GiveUp or TryLater."""
    task = Task(
        key=f"{OWN_RULE}/direct/{now:%Y%m%dT%H%M%S}",
        rule=OWN_RULE,
        summary=title,
        subject=WebsiteSubject(website=Site(id="", name="")),
        matched=now,
        now=now,
    )
    notice = Notice(title=title, lines=tuple(lines), channel=channel, grey=grey)
    await notice.perform(task, ports)


def amend(
    conn: Connection, title: str, lines: Sequence[str], now: datetime, zone: str, about: str
) -> None:
    """Edit the message of the trouble's beginning, which is over with that; posts nothing.

    A message that still waits is taken back: nobody would ever be told of its end.
    Call it in the transaction of what it is about.
    """
    key = _hashed(about)
    begun = begun_at(conn, OWN_RULE, "", key)
    shown = compose.notice(title, lines, "", now, zone)
    edits: list[NewStep] = []
    over = f"{OWN_RULE}//{now:%Y%m%dT%H%M%S}/{key}{RESOLVED}"
    subject = WebsiteSubject(website=Site(id="", name=""))
    for match, lane, post in posts_of(conn, OWN_RULE, key, begun) if begun else ():
        keep_posts(conn, match, lane, (replace(post, shows=kept(shown)),), now)
        edit = Edit(channel=post.channel, post=post.key)
        edits.append(
            NewStep(
                key=f"{over}/{edit.kind}-{len(edits) + 1}",
                rank=edit.rank,
                lane=lane,
                kind=edit.kind,
                params=edit.stored(),
                due=now,
            )
        )
    if begun is not None:
        take_back_posts(conn, OWN_RULE, key, begun, now, f"not posted: {title}")
        ended = NewMatch(
            rule=OWN_RULE,
            kind="websites",
            website="",
            subject_key=key,
            match_key=over,
            subject=written(subject),
            matched=now,
            steps=edits,
            why=(title,),
            summary=title,
            continues=begun,
        )
        add_match(conn, ended)


def announce(
    conn: Connection,
    title: str,
    lines: Sequence[str],
    now: datetime,
    channel: str | None,
    site: Site | None = None,
    page: str = "",
    offer: Offer | None = None,
    about: str = "",
    ends: bool = False,
    grey: str = "",
) -> None:
    """Write the message into the audit log and, if there is a channel, into the outbox.

    Call it in the transaction of what it is about, so that both are stored or neither. `about`
    names the trouble that begins or `ends`.
    """
    website = site.id if site else ""
    note = Note(
        kind="notice",
        website=website,
        text=title,
        details={"lines": [*lines, *filter(None, (grey,))]},
    )
    record(conn, now, [note])
    if channel is not None:
        begun = begun_at(conn, OWN_RULE, website, _hashed(about)) if ends else None
        told = notice(title, lines, now, channel, site, page, offer, about, ends, begun, grey)
        add_match(conn, told)

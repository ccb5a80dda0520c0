"""Post to Slack: a match, the end of an alert, a digest, and messages of the bot itself."""

import dataclasses
import hashlib
import re
from abc import abstractmethod
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec.structs import replace

from bot.actions.base import SETTLING, Action, Done, Later, Problem, Spec
from bot.actions.notifier import (
    DigestAt,
    DigestOfMany,
    Overflow,
    QuietOfMany,
    Rate,
    Text,
    ToPeople,
    post_problems,
)
from bot.domain import causes
from bot.domain.accounts import commands_of
from bot.domain.budget import BUDGET
from bot.domain.press import Button, Offer
from bot.domain.step import Rank
from bot.domain.subjects import Kind, RecordingSubject, Subject
from bot.errors import GiveUp, NotDoneYet, Refused, TryLater
from bot.fields.catalogue import ALERTS, KINDS
from bot.messages import compose, links, weekly
from bot.messages import message as messages
from bot.messages.blocks import blocks, notification
from bot.messages.message import Message
from bot.ports import Addresses, CannotLook, Ports, Posted, SlackPost, Task
from bot.written import Check, Length, Written, Wrong, key

_CHANNEL = re.compile(r"#[^\s#@,:<>&|]{1,80}|[CDGU][A-Z0-9]{6,20}")


class _Post(Action):
    """What all posts have in common: a channel; `slack.channel` if it is empty."""

    quotes_visitors: ClassVar[bool] = False
    rank: ClassVar[Rank] = Rank.POST
    posts: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = KINDS
    answers: ClassVar[bool] = False
    """Whether it answers the message that told the beginning of its alert."""
    broadcasts: ClassVar[bool] = False
    """Whether such an answer shows in the channel too, if the rule is critical."""
    can_change: ClassVar[bool] = False
    """Whether what it shows may change later."""
    channel: str = ""

    def lane(self, subject: Subject, default_channel: str) -> str:
        """Posts to one channel go out in order, and wait together at a rate limit."""
        return f"slack:{self.channel or default_channel}"

    @abstractmethod
    def message(self, task: Task, addresses: Addresses) -> Message:
        """What is posted."""

    def default(self, addresses: Addresses) -> str:
        """The channel to use if the rule names none."""
        return addresses.channel

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Post it, once."""
        message = self.message(task, ports.addresses)
        channel = self.channel or self.default(ports.addresses)
        recording = isinstance(task.subject, RecordingSubject)
        answers = task.post if self.answers and not recording else None
        done = await self._post(message, channel, answers, task, ports)
        return (
            dataclasses.replace(done, note=f"{done.note}; {message.note}") if message.note else done
        )

    async def _post(
        self,
        message: Message,
        channel: str,
        answers: Posted | None,
        task: Task,
        ports: Ports,
        *,
        broadcast: bool = False,
    ) -> Done:
        """Post it once: as an answer in the thread, or in the channel if that message is gone.

        `broadcast`: the channel shows the answer too.
        """
        if answers is None:
            done = await _post_once(_ready(message, channel, _opaque(task.key)), task, ports)
            return dataclasses.replace(done, posts=self._posted(message, channel, done, task))
        said = messages.answer(message)
        answer = replace(
            _ready(
                replace(said, url=message.url if broadcast else ""),
                channel,
                _opaque(task.key),
            ),
            thread=answers.stamp,
            broadcast=broadcast or (self.broadcasts and task.severity == "critical"),
        )
        try:
            done = await _post_once(answer, task, ports)
        except Refused as error:
            if error.code not in _NO_THREAD:
                raise
            # Nothing was posted: the message was deleted.
            return await self._post(message, channel, None, task, ports)
        return self.answered(message, answers, done)

    def _posted(self, message: Message, channel: str, done: Done, task: Task) -> tuple[Posted, ...]:
        if not self.can_change or not done.result:
            return ()
        # What an author's own text says of a visitor is not kept.
        own = isinstance(task.subject, RecordingSubject) and message.own
        shows = "" if own else messages.kept(message)
        return (Posted(_opaque(task.key), channel, done.result, shows),)

    def answered(self, message: Message, first: Posted, done: Done) -> Done:
        """The outcome of an answer to `first`: what else changes."""
        return done


class Slack(_Post, ToPeople):
    """Posts a match. Posts over `at_most` go into a digest, or are dropped.

    Safe to repeat: a post whose outcome is unknown is looked up in the channel first.
    """

    kind: ClassVar[str] = "slack"
    service: ClassVar[str] = causes.SLACK
    digest: ClassVar[str] = "digest"
    answers: ClassVar[bool] = True
    broadcasts: ClassVar[bool] = True
    can_change: ClassVar[bool] = True

    def message(self, task: Task, addresses: Addresses) -> Message:
        """The rule's text, or the built-in message if there is none or it fails."""
        if self.text is None:
            return compose.match(task, addresses)
        from bot.messages.templates import BadText, names_used, render  # Jinja2 takes 2 MB

        try:
            text = render(self.text, task, addresses)
        except BadText:
            # A text that fails on unexpected data must not cost the post. The error may quote
            # what a visitor wrote, so it is not noted.
            note = "built-in message, because the rule's text can't be filled in"
            return replace(compose.match(task, addresses), note=note)
        linked = bool(names_used(self.text) & {"url", "link", "share_url"})
        if not text:
            return compose.match(task, addresses)
        return compose.from_template(task, addresses, text, linked)

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Post it, once; or add it to the message that another rule has just posted about it.

        What is more severe than that message must notify: it answers it as well.
        """
        if (added := await self._added(task, ports)) is not None:
            return added
        return await super().perform(task, ports)

    async def _added(self, task: Task, ports: Ports) -> Done | None:
        """The outcome of adding it to `task.post`; None if it must be a message of its own."""
        post = task.post
        if post is None or self.text is not None or task.many is not None:
            return None
        first = messages.reread(post.shows)
        if first is None or first.items or not isinstance(task.subject, RecordingSubject):
            return None
        second = self.message(task, ports.addresses)
        if messages.more_severe(first, second):
            done = await self._post(second, post.channel, post, task, ports, broadcast=True)
            return done if done.posts else _edits(post, messages.joined(first, second), done)
        if task.attempted and await _found(task, post.channel, ports):
            return None  # it could not be added then, and has a message of its own
        both = messages.joined(first, second)
        if await _edited(_ready(both, post.channel, post.key), post.stamp, ports):
            return None
        shows = replace(post, shows=messages.kept(both))
        note = f"added to the message of {', '.join(first.rules)} in {post.channel}"
        return Done(note, post.stamp, posts=(shows,))

    def posts_to(self, default_channel: str) -> str | None:
        """The rule's channel, else the default one; empty for an incoming webhook's own."""
        return self.channel or default_channel

    def routed(self, channel: str) -> "Slack":
        """The post to that channel if it names none."""
        return self if self.channel else dataclasses.replace(self, channel=channel)

    def plain(self) -> "Slack":
        """The built-in message to the same channel."""
        return Slack(channel=self.channel)

    def resolved(self, began: datetime) -> Action | None:
        """A post to the same channel."""
        return Resolved(channel=self.channel, began=began, digest_at=self.digest_at)


class Resolved(_Post):
    """Posts that an alert, firing since `began`, is resolved.

    It answers the message of its beginning, which then says so too: the answer notifies, and
    the edit keeps the channel true for those who read it later.
    """

    kind: ClassVar[str] = "resolved"
    digest: ClassVar[str] = "digest"
    if_held_back: ClassVar[str] = "ended"
    answers: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = ALERTS
    began: datetime
    digest_at: str = ""

    def message(self, task: Task, addresses: Addresses) -> Message:
        """What it was, the figures now, and how long it lasted."""
        return compose.resolved(task, addresses, max(task.matched - self.began, timedelta()))

    def answered(self, message: Message, first: Posted, done: Done) -> Done:
        """The first message says so too."""
        return _edits(first, message, done)


class Ended(_Post):
    """Edits the first message of an alert that is resolved, when a limit holds back its answer.

    An edit notifies nobody. Without it the message would keep saying that the alert fires.
    """

    kind: ClassVar[str] = "ended"
    watches: ClassVar[tuple[Kind, ...]] = ALERTS
    began: datetime
    digest_at: str = ""

    def message(self, task: Task, addresses: Addresses) -> Message:
        """What the answer would have said."""
        return compose.resolved(task, addresses, max(task.matched - self.began, timedelta()))

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Edit it; a message that is gone or can't be edited any more stays as it is."""
        if task.post is None:
            return Done("not edited: the store does not know this message any more")
        message = self.message(task, ports.addresses)
        ready = _ready(message, task.post.channel, task.post.key)
        refused = await _edited(ready, task.post.stamp, ports)
        shows = replace(task.post, shows=messages.kept(message))
        note = f"not edited: {refused}" if refused else f"edited in {ready.channel}"
        return Done(note, posts=(shows,))


class Edit(_Post):
    """Edits a posted message, so that it shows what the store says. Safe to repeat."""

    kind: ClassVar[str] = "edit"
    post: str

    def message(self, task: Task, addresses: Addresses) -> Message:
        """What it shows from now on."""
        shown = messages.reread(task.post.shows) if task.post else None
        if shown is None:
            raise GiveUp("the store does not know this message any more", "nothing is left to do")
        return shown

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Edit it; a message that is gone or can't be edited any more stays as it is."""
        message = self.message(task, ports.addresses)
        ready = _ready(message, self.channel or self.default(ports.addresses), self.post)
        refused = await _edited(ready, task.post.stamp if task.post else "", ports)
        return Done(f"not edited: {refused}" if refused else f"edited in {ready.channel}")


class Answer(_Post):
    """Answers a message in its thread: what somebody asked for there was not done."""

    kind: ClassVar[str] = "answer"
    post: str
    title: str
    line: str

    def message(self, task: Task, addresses: Addresses) -> Message:
        """What failed and why, and who asked for it."""
        said = (messages.plain_line(self.line),)
        return Message(icon=messages.WARNING, headline=self.title, why=said)

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Post it, once."""
        channel = self.channel or self.default(ports.addresses)
        return await self._post(
            self.message(task, ports.addresses), channel, task.post, task, ports
        )


EDITS = frozenset({Edit.kind, Ended.kind})
"""The kinds of steps that change a message and post none."""


def _edits(first: Posted, shown: Message, done: Done) -> Done:
    """The outcome, after which the first message shows this. It is edited in a step of its own,
    which may fail by itself.
    """
    edit = Edit(channel=first.channel, post=first.key)
    shows = replace(first, shows=messages.kept(shown))
    return dataclasses.replace(done, posts=(shows,), follow=(Later(edit, timedelta()),))


async def _found(task: Task, channel: str, ports: Ports) -> bool:
    """Whether an earlier attempt has posted a message of its own, as far as one can see."""
    try:
        since = task.attempted or task.now
        return await ports.slack.find(channel, _opaque(task.key), since) is not None
    except CannotLook:
        return False


async def _edited(ready: SlackPost, stamp: str, ports: Ports) -> str:
    """Edit the message; returns why it can't be edited any more, else an empty text."""
    try:
        await ports.slack.update(ready, stamp)
    except CannotLook as error:
        return str(error)
    except Refused as error:
        if error.code not in _NOT_EDITABLE:
            raise
        return error.reason
    except TryLater as error:
        # The same edit twice is one, so its outcome need not be known.
        raise TryLater(error.reason, after=error.after, lane=error.lane) from error
    return ""


class Digest(DigestOfMany, _Post):
    """Posts many matches of one rule as one message."""

    kind: ClassVar[str] = "digest"
    after_quiet: ClassVar[str] = "after_quiet"
    can_change: ClassVar[bool] = True


class AfterQuiet(QuietOfMany, _Post):
    """Posts what waited for a channel in a quiet time as one message."""

    kind: ClassVar[str] = "after_quiet"


class Weekly(_Post):
    """Posts the weekly report of a website, or of several together."""

    kind: ClassVar[str] = "weekly"
    week: dict[str, Any]

    @staticmethod
    def kept(week: weekly.Week) -> dict[str, Any]:
        """The report as parameters of the step."""
        kept: dict[str, Any] = msgspec.to_builtins(week)
        return kept

    def message(self, task: Task, addresses: Addresses) -> Message:
        """The week compared with the one before, and what needs attention."""
        return weekly.weekly(task, addresses, msgspec.convert(self.week, weekly.Week))


class Notice(_Post):
    """Posts the bot's own troubles to the people who run it (`slack.ops_channel`).

    No rule's limit may hold it back. The end of a trouble answers the message of its beginning,
    which then says so too. `about` names the trouble.
    """

    kind: ClassVar[str] = "notice"
    rank: ClassVar[Rank] = Rank.NOTICE
    answers: ClassVar[bool] = True
    about: str = ""
    title: str
    lines: tuple[str, ...] = ()
    grey: str = ""
    page: str = ""
    button: Button | None = None
    acts_on: str = ""
    rules: tuple[str, ...] = ()
    label: str = ""

    def default(self, addresses: Addresses) -> str:
        """The ops channel, else the default channel."""
        return addresses.ops_channel or addresses.channel

    def message(self, task: Task, addresses: Addresses) -> Message:
        """The title and its lines, and where the status page says more."""
        page = links.page(addresses, self.page)
        offer = None
        if self.button is not None and addresses.buttons:
            offer = Offer(self.button, self.acts_on, self.rules, self.label)
        rules = [(each, _page_of(each, addresses)) for each in self.rules]
        account = addresses.account
        *lines, grey = (commands_of(account, line) for line in (*self.lines, self.grey))
        told = compose.notice(self.title, lines, page, task.now, addresses.zone, offer, grey, rules)
        return replace(told, headline=f"{account}: {told.headline}") if account else told

    def _posted(self, message: Message, channel: str, done: Done, task: Task) -> tuple[Posted, ...]:
        """Only what people can press is kept, and what may be over one day."""
        if not (message.buttons or self.about) or not done.result:
            return ()
        return (Posted(_opaque(task.key), channel, done.result, messages.kept(message)),)

    def answered(self, message: Message, first: Posted, done: Done) -> Done:
        """The first message says so too."""
        return _edits(first, message, done)


def _page_of(rule: str, addresses: Addresses) -> str:
    """Where the status page has the rule or budget; empty without an address."""
    budget = rule.removeprefix(BUDGET)
    if budget != rule:
        return links.page(addresses, "budgets", at=budget)
    return links.page(addresses, "rules", rule)


_NO_THREAD = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message"})
_NOT_EDITABLE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})


def _ready(message: Message, channel: str, key: str) -> SlackPost:
    return SlackPost(channel, notification(message), blocks(message, key), key)


async def _post_once(post: SlackPost, task: Task, ports: Ports) -> Done:
    """Post the message unless an earlier attempt did: look up its key in the channel first.

    The result is the message's timestamp. If the channel can't be read, a post whose outcome
    is unknown is repeated, and the note says so.
    """
    note = ""
    if task.attempted:
        try:
            found = await ports.slack.find(post.channel, post.key, task.attempted, post.thread)
        except CannotLook as error:
            if task.restored:
                raise NotDoneYet(
                    "the store was restored and the channel can't be read: "
                    "this may have been posted before"
                ) from error
            why = f" ({error})" if str(error) else ""
            note = f"; an earlier attempt may have posted it too: the channel can't be read{why}"
        except TryLater as error:
            # The look-up failed, so the first attempt's outcome is still unknown. `after` is
            # always set: it keeps the time from which the next look-up counts.
            after = error.after or SETTLING
            raise TryLater(error.reason, after=after, unknown=True, lane=error.lane) from error
        else:
            if found is not None:
                return Done(f"an earlier attempt had posted it to {post.channel}", found)
            if task.restored:
                raise NotDoneYet("the store was restored; the channel does not have this post")
            if task.now - task.attempted < SETTLING:
                raise TryLater(
                    "an earlier attempt may still show up in the channel",
                    after=SETTLING,
                    unknown=True,
                )
            note = "; an earlier attempt had not arrived"
    stamp = await ports.slack.post(post)
    # An incoming webhook returns no timestamp, and posts to its own channel.
    place = f"posted to {post.channel}" if stamp and post.channel else "posted by the webhook"
    return Done(f"{place}{note}", stamp)


def _opaque(key: str) -> str:
    """A step's key as a hash: Slack shows message metadata to every member."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _channel(value: Any) -> Any:
    if value is None:
        raise Wrong('there is no channel here; # begins a comment, so quote it: "#alerts"')
    if not isinstance(value, str):
        raise Wrong('a post has one channel; for two write [{channel: "#a"}, {channel: "#b"}]')
    if not _CHANNEL.fullmatch(value):
        bare = value.strip("“”„‟«»‘’‚\"'")
        meant = ""
        if bare != value:
            meant = f'; with straight quotes: "{bare}"'
        elif _CHANNEL.fullmatch(f"#{value}"):
            meant = f"; did you mean #{value}?"
        raise Wrong(f'write a channel such as "#alerts", or its id such as C0123ABCD{meant}')
    return value


Channel = Annotated[
    str,
    Check(_channel, before=True, schema={"type": "string", "pattern": f"^({_CHANNEL.pattern})$"}),
]


class SlackWritten(Written):
    """One post as written in a rule file."""

    channel: Channel = key(
        "where to post; left out: slack.channel of the configuration", default=""
    )
    text: Text | None = key("a template; left out: the bot's message", default=None)
    at_most: Rate | None = key("such as 10 per hour", default=None)
    overflow: Overflow = key("what happens to what is over it", default=None, shown="digest")
    digest: DigestAt = key("when to post all matches since the last digest as one", default="")


SlackValue = SlackWritten | Annotated[list[SlackWritten], Length(1, 10)]


def _posts(written: Any) -> list[SlackWritten]:
    return [written] if isinstance(written, SlackWritten) else list(written)


def _steps(written: Any) -> tuple[Action, ...]:
    return tuple(
        Slack(
            channel=post.channel,
            text=post.text,
            at_most=post.at_most,
            overflow=post.overflow or "digest",
            digest_at=post.digest,
        )
        for post in _posts(written)
    )


def _problems(written: Any, kind: Kind) -> tuple[Problem, ...]:
    found: list[Problem] = []
    for place, post in enumerate(_posts(written)):
        here = () if isinstance(written, SlackWritten) else (place,)
        found += post_problems(post, post.text, post.digest, kind, here)
    return tuple(found)


SLACK = Spec(
    key="slack",
    written=SlackValue,
    subjects=KINDS,
    models=(Slack, Digest, Resolved, Ended, Edit, Answer, AfterQuiet, Weekly, Notice),
    steps=_steps,
    about="posts to Slack, or each of a list; `at_most` bounds the posts, the rest is one digest",
    example='slack: {channel: "#checkout-alerts", at_most: 10 per hour}',
    problems=_problems,
    needs="slack",
    templates=frozenset({"text"}),
)

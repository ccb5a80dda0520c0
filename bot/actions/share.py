"""Make a recording or a heatmap public, and private again."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from bot.actions.base import (
    Action,
    Done,
    Duration,
    Later,
    Spec,
    ended_with_its_subject,
    remove,
    send,
)
from bot.domain.step import Rank
from bot.domain.subjects import Kind, PageSubject, RecordingSubject, Subject
from bot.errors import GiveUp, TryLater
from bot.messages.text import lasting
from bot.ports import Ports, Task
from bot.written import Written, YesNo
from mouseflow import heatmaps, recordings
from mouseflow.models import HeatmapPage, Recording
from mouseflow.request import Request

_SHAREABLE: tuple[Kind, ...] = ("recordings", "pages")


@dataclass(frozen=True, slots=True)
class _Calls:
    look: Request[Recording] | Request[HeatmapPage]
    share: Request[str] | Request[str | None]
    unshare: Request[None]


def _calls(subject: Subject) -> _Calls:
    site = subject.website.id
    if isinstance(subject, RecordingSubject):
        id_ = subject.recording.id
        return _Calls(
            recordings.detail(site, id_),
            recordings.share(site, id_),
            recordings.unshare(site, id_),
        )
    if isinstance(subject, PageSubject):
        return _Calls(
            heatmaps.page(site, subject.path),
            heatmaps.share(site, subject.path),
            heatmaps.unshare(site, subject.path),
        )
    raise GiveUp(f"{subject.kind} can't be shared", "fix the rule")


async def _token(calls: _Calls, task: Task, ports: Ports) -> str | None:
    look: Request[Any] = calls.look
    token: str | None = (await send(look, task, ports)).token
    return token or None


class Unshare(Action):
    """Ends a share. With a `token` only that share: a newer one by a person stays.

    Safe to repeat. What is gone is not public.
    """

    kind: ClassVar[str] = "unshare"
    quotes_visitors: ClassVar[bool] = False
    restores: ClassVar[bool] = True
    rank: ClassVar[Rank] = Rank.SHARE
    watches: ClassVar[tuple[Kind, ...]] = _SHAREABLE
    token: str | None = field(default=None, repr=False)

    async def perform(self, task: Task, ports: Ports) -> Done:
        """End the share."""
        return await ended_with_its_subject(self._end(task, ports), task)

    async def _end(self, task: Task, ports: Ports) -> Done:
        calls = _calls(task.subject)
        present = await _token(calls, task, ports)
        if present is None:
            return Done("was not shared")
        if self.token is not None and present != self.token:
            return Done("not ended: somebody has shared it again")
        await remove(calls.unshare, calls.look, task, ports)
        return Done("share ended")


class Share(Action):
    """Makes the recording, or the page's heatmap, public; `expires` ends the share later.

    Safe to repeat: an existing share is used, since a second one may replace the token. Only
    what the bot shared expires: a token that existed when the rule matched is somebody else's.
    """

    kind: ClassVar[str] = "share"
    quotes_visitors: ClassVar[bool] = False
    rank: ClassVar[Rank] = Rank.SHARE
    watches: ClassVar[tuple[Kind, ...]] = _SHAREABLE
    expires: timedelta | None = None

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Share it; the result is the token."""
        calls = _calls(task.subject)
        present = await _token(calls, task, ports)
        if present is not None:
            if task.attempted and not _was_shared(task.subject):
                return self._shared(present, "shared by an earlier attempt")
            return Done("was shared already", present)
        share: Request[Any] = calls.share
        token = await send(share, task, ports) or await _token(calls, task, ports)
        if not token:
            raise TryLater("shared, but the API returns no token yet", unknown=True)
        return self._shared(token, "shared")

    def _shared(self, token: str, note: str) -> Done:
        if self.expires is None:
            return Done(note, token)
        follow = (Later(Unshare(token=token), self.expires),)
        return Done(f"{note} for {lasting(self.expires)}", token, follow)


def _was_shared(subject: Subject) -> bool:
    return isinstance(subject, RecordingSubject) and bool(subject.recording.token)


class ShareOptions(Written):
    """A share that ends by itself."""

    expires: Duration


def _steps(written: Any) -> tuple[Action, ...]:
    if isinstance(written, ShareOptions):
        return (Share(expires=written.expires),)
    return (Share(),) if written else (Unshare(),)


SHARE = Spec(
    key="share",
    written=YesNo | ShareOptions,
    subjects=_SHAREABLE,
    models=(Share, Unshare),
    steps=_steps,
    about=(
        "makes the recording (or the page's heatmap) public: anybody with the address sees it; "
        "`{expires: 7d}` ends that after a while, `false` ends a share, whoever made it"
    ),
    example="share: {expires: 7d}",
)

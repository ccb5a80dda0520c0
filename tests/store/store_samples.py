"""Small polls, matches and steps for the tests of the store."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.domain.limits import Posting
from bot.domain.subjects import RecordingSubject, Site, written
from bot.store.matches import NewMatch, NewStep, PollOutcome
from bot.store.recordings import SeenRecording
from mouseflow.models import Recording

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WRITE, SHARE, POST = 0, 1, 2
VISITOR = "visitor-4711"


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/bot.db"


def step(key: str, rank: int = WRITE, **changes) -> NewStep:
    usual = {
        "lane": "slack:#alerts" if rank == POST else "mouseflow:w1",
        "kind": ("tag", "share", "slack")[rank],
        "params": '{"channel":"#alerts"}' if rank == POST else "{}",
        "due": NOW,
    }
    return NewStep(key=key, rank=rank, **(usual | changes))


def match(
    key: str = "r1",
    steps: Sequence[NewStep] | None = None,
    *,
    rule: str = "checkout",
    at: datetime = NOW,
    posting: Posting | None = None,
    happened: datetime | None = None,
    duration: int = 1000,
) -> NewMatch:
    recording = Recording(id=key, visitor_id=VISITOR, duration=duration)
    subject = RecordingSubject(website=Site("w1", "shop.example"), recording=recording)
    return NewMatch(
        rule=rule,
        kind="recordings",
        website="w1",
        subject_key=key,
        match_key=f"{rule}/w1/{key}",
        subject=written(subject),
        matched=at,
        steps=[step(f"{rule}/w1/{key}/tag-1")] if steps is None else steps,
        why=(f"friction of {key}",),
        summary="Trouble in the checkout",
        happened=happened,
        posting=posting or Posting(),
    )


def seen(key: str = "r1", **changes) -> SeenRecording:
    usual = {"fingerprint": "one", "settled": False, "created": NOW, "last_activity": NOW}
    return SeenRecording(id=key, **(usual | changes))


def poll(*matches: NewMatch, **changes) -> PollOutcome:
    usual = {"source": "recordings", "website": "w1", "at": NOW, "watermark": '{"to":1}'}
    return PollOutcome(matches=matches, **(usual | changes))

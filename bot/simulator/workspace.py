"""The truth behind the pretend Slack: channels, scopes, and the messages that were posted."""

from dataclasses import dataclass, field
from typing import Any

from bot.simulator.clock import Clock

SCOPES = frozenset(
    {
        "chat:write", "chat:write.public", "channels:read", "channels:history",
        "groups:read", "groups:history",
    }
)  # fmt: skip


@dataclass(slots=True)
class Channel:
    """A channel of the workspace."""

    id: str
    name: str
    member: bool = True
    private: bool = False
    archived: bool = False


@dataclass(slots=True)
class SlackMessage:
    """A message that was posted. `ts` is its id within the channel; `edits` counts updates."""

    channel: str
    channel_id: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] | None
    ts: str
    via: str = "bot"
    thread_ts: str | None = None
    edits: int = 0


@dataclass
class SlackWorkspace:
    """The truth behind the pretend Slack. Change its fields to make trouble."""

    clock: Clock
    token: str = "xoxb-simulator-token"  # noqa: S105 - a pretend one
    webhook_path: str = "/services/T00000000/B00000000/simulatorwebhook"
    webhook_channel: str = "mouseflow"
    scopes: frozenset[str] = SCOPES
    channels: dict[str, Channel] = field(default_factory=dict)
    messages: list[SlackMessage] = field(default_factory=list)
    _last: int = 0

    def add_channel(self, name: str, **traits: bool) -> Channel:
        """Makes a channel, named without the number sign."""
        number = len(self.channels) + 1
        channel = Channel(f"C{number:010d}", name.lstrip("#"), **traits)
        self.channels[channel.id] = channel
        return channel

    def channel(self, text: str) -> Channel | None:
        """The channel with that id or name."""
        name = text.lstrip("#")
        return self.channels.get(text) or next(
            (channel for channel in self.channels.values() if channel.name == name), None
        )

    def next_ts(self) -> str:
        """A time stamp later than all before."""
        micros = max(int(self.clock.now().timestamp() * 1_000_000), self._last + 1)
        self._last = micros
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

    def in_channel(self, name: str) -> list[SlackMessage]:
        """What a channel holds, oldest first."""
        wanted = name.lstrip("#")
        return [m for m in self.messages if wanted in (m.channel, m.channel_id)]

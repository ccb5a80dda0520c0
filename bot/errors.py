"""The error tree, ordered by what the caller does next: fix something, give up, or retry later.

BotError
├── ConfigError     fix the configuration; the command exits with status 1
│   └── AccountRemoved  the account is no longer in it, and runs until the bot restarts
├── RuleErrors      fix the rule files; holds every error found
├── StoreError      fix the store: locked, read-only, full, too new
│   ├── StoreHeld   another bot uses the store; who waits may get it
│   └── StoreLost   the store is damaged or gone; waiting does not help
│       └── StoreTaken  other bots have taken over; this one may join them again
├── GiveUp          repeating this request cannot help: a person must act, or nobody can
│   ├── Gone            what the request is about does not exist
│   ├── Refused         the other side refuses, with a code of its own
│   └── Denied          the credentials or the permissions must change
│       ├── BadCredentials  no request of this account succeeds
│       └── Forbidden       this request is not allowed
└── TryLater        retrying may help; says when, and whether the outcome is unknown
    ├── NotDoneYet      a look after a restore found nothing
    ├── RateLimited     the other side asks to wait
    ├── Unreachable     nobody answers at that address
    └── OddAnswer       an answer that is not the other side's own
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePath


class BotError(Exception):
    """Every error the bot raises on purpose. The text is for people and holds no secret."""


def internal_error(error: BaseException) -> str:
    """A bug for people: only its class and line, since its text may hold anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"internal error: {type(error).__name__} at {PurePath(frame.filename).name}:{frame.lineno}"
    )


class ConfigError(BotError):
    """The configuration must be fixed before anything can run."""


class AccountRemoved(ConfigError):
    """The account that runs is gone from the configuration."""


class StoreError(BotError):
    """The store can't be used now: locked, read-only, full or too new."""


class StoreHeld(StoreError):
    """Another bot uses the store, and who waits gets it when that one ends."""


class StoreLost(StoreError):
    """The store is damaged or gone. The bot stops writing to it; a person must act."""


class StoreTaken(StoreLost):
    """The other bots on the store have taken over the work of this one; it may join them again."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One problem in a rule file, where it is and what to do.

    `line` and `column` count from 1. `path` is the dotted place inside the file
    (`rules.checkout.when.friction`), empty for the file itself. `lint` is the id of a
    lint that can be silenced, or None for an error. A fault with a lint is a warning.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    lint: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        subject = f"{self.path}: " if self.path else ""
        tail = f" [{self.lint}]" if self.lint else ""
        return f"{place}{subject}{self.message}{tail}"


class RuleErrors(BotError):
    """The rule files must be fixed; `faults` holds every problem of every file.

    `warnings`, `notes` and `disabled` (ids) are about the rules that can be read, as in a
    `RuleSet`.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        warnings: Sequence[Fault] = (),
        notes: Sequence[Fault] = (),
        disabled: Sequence[str] = (),
    ) -> None:
        self.faults = tuple(faults)
        self.warnings = tuple(warnings)
        self.notes = tuple(notes)
        self.disabled = tuple(disabled)
        super().__init__("\n".join(map(str, self.faults)))


class GiveUp(BotError):
    """Asking again cannot help. `remedy` says what a person can do about it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}; {remedy}" if remedy else reason)


class Gone(GiveUp):
    """The recording, website, page... does not exist (any more)."""


class Refused(GiveUp):
    """The other side refuses. `code` is its own word for why: an error code or a status."""

    def __init__(self, reason: str, remedy: str = "", *, code: str) -> None:
        super().__init__(reason, remedy)
        self.code = code


class Denied(GiveUp):
    """A person must change the credentials or the user's permissions."""


class BadCredentials(Denied):
    """The account rejects the credentials, for every request."""


class Forbidden(Denied):
    """The user has no permission for this request."""


class TryLater(BotError):
    """Asking again may help.

    `after` is what the other side asked us to wait, None when it did not say.
    `unknown`: the attempt may have taken effect anyway.
    `lane`: everything on the same lane (channel, website) would fail too.
    """

    def __init__(
        self,
        reason: str,
        *,
        after: timedelta | None = None,
        unknown: bool = False,
        lane: bool = False,
    ) -> None:
        self.reason = reason
        self.after = after
        self.unknown = unknown
        self.lane = lane
        super().__init__(reason)


class NotDoneYet(TryLater):
    """After a restore of the store: nothing shows that the step was done, so it is performed."""


class RateLimited(TryLater):
    """The other side asks to wait: nothing is wrong."""


class Unreachable(TryLater):
    """There was no answer: the network, the address, a timeout or a dropped connection."""


class OddAnswer(TryLater):
    """An answer that is not what the other side documents, such as a proxy's page.

    The attempt may have taken effect all the same.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, unknown=True)

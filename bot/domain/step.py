"""A step of a match: its rank in the order of steps, and its states."""

from enum import IntEnum, StrEnum

OWN_RULE = "mouseflow-bot"
"""The rule of what the bot itself posts and what people press; no file can use this id."""


DELETED = "deleted"
"""The result of a step that deleted its recording. One that was gone already has none."""


class Rank(IntEnum):
    """The order in which a match's steps are performed.

    Each stage begins when the one before has ended. NOTICE waits for nothing.
    """

    WRITE = 0
    SHARE = 1
    POST = 2
    NOTICE = 3
    DELETE = 4


class StepStatus(StrEnum):
    """The state of a step in the outbox. The store keeps these words.

    Open: PENDING waits, SENDING is being performed. Ended: DONE took effect, DEAD is a dead
    letter that can be retried, FOLDED went into a digest, WITHHELD was dropped by a limit
    or is no longer allowed.
    """

    PENDING = "pending"
    SENDING = "sending"
    DONE = "done"
    DEAD = "dead"
    FOLDED = "folded"
    WITHHELD = "withheld"

    @property
    def is_open(self) -> bool:
        """Whether the step may still take effect by itself."""
        return self in (StepStatus.PENDING, StepStatus.SENDING)

"""Dead letters by cause, as `status` and `retry` show them."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.store.dead_letters import DeadGroup


def show(groups: "Iterable[DeadGroup]", now: datetime, *, remedies: bool = False) -> None:
    """Print a line per cause: how many, rule and action, from when to when, and why."""
    from bot.cli import output

    output.table(
        (f"{group.count} ×", group.rule, group.action, _when(group, now), _why(group, remedies))
        for group in groups
    )


def _when(group: "DeadGroup", now: datetime) -> str:
    from bot.cli import output

    last = output.ago(group.last, now)
    return f"{output.ago(group.first, now)} to {last}" if group.count > 1 else last


def _why(group: "DeadGroup", remedies: bool) -> str:
    return f"{group.reason}; {group.remedy}" if remedies and group.remedy else group.reason

"""The one place where times become numbers: whole milliseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def ms(moment: datetime) -> int:
    """The moment as it is stored. `moment` must know its zone."""
    return (moment - _EPOCH) // _MS


def ms_or_none(moment: datetime | None) -> int | None:
    """The moment as it is stored, where there may be none."""
    return None if moment is None else ms(moment)


def moment(stored: int) -> datetime:
    """The moment that `ms` stored."""
    return _EPOCH + stored * _MS


def moment_or_none(stored: int | None) -> datetime | None:
    """The moment that `ms_or_none` stored."""
    return None if stored is None else moment(stored)

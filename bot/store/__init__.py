"""The store: everything the bot remembers, in a SQLite file or in PostgreSQL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bot.store.database import (
        Store,
        StoreLocation,
        backup,
        in_memory_copy,
        location_of,
        open_store,
        restore,
    )

__all__ = [
    "Connection",
    "Store",
    "StoreLocation",
    "backup",
    "in_memory_copy",
    "location_of",
    "open_store",
    "restore",
]


def __getattr__(name: str) -> Any:
    """Import SQLAlchemy only for those who use it: `healthcheck` needs `bot.store.lock` alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bot.store import database

    return getattr(database, name)

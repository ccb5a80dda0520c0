"""The store: everything the bot remembers, in one SQLite file."""

from sqlalchemy import Connection

from bot.store.database import Store, backup, in_memory_copy, open_store, restore

__all__ = ["Connection", "Store", "backup", "in_memory_copy", "open_store", "restore"]

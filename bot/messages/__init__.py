"""Words: units as people write them, hostile text made harmless, templates and messages."""

from bot.messages.text import duration, rate

__all__ = ["duration", "rate"]

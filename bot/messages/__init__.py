"""What people read: messages, templates, durations and rates, escaped text."""

from bot.messages.text import duration, rate

__all__ = ["duration", "rate"]

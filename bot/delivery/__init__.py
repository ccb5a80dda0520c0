"""Delivery: perform the steps in the outbox; each ends done, retried or as a dead letter."""

from bot.delivery.worker import DEFAULT_TIMING, Delivery, Drained, Timing, drain

__all__ = ["DEFAULT_TIMING", "Delivery", "Drained", "Timing", "drain"]

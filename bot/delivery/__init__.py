"""Delivery: what is in the outbox is performed, settled, postponed or given up."""

from bot.delivery.worker import USUAL, Delivery, Drained, Timing, drain

__all__ = ["USUAL", "Delivery", "Drained", "Timing", "drain"]

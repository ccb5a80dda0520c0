"""Delivery: what is in the outbox is performed, settled, postponed or given up."""

from bot.deliver.delivery import USUAL, Delivery, Drained, Timing, drain

__all__ = ["USUAL", "Delivery", "Drained", "Timing", "drain"]

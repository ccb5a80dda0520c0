"""Delivery: perform the steps in the outbox; each ends done, retried or as a dead letter."""

from bot.delivery.pace import SLACK_PACE, Paces
from bot.delivery.worker import DEFAULT_TIMING, Delivery, Drained, Timing, drain

__all__ = ["DEFAULT_TIMING", "SLACK_PACE", "Delivery", "Drained", "Paces", "Timing", "drain"]

"""The configuration: checked, frozen settings. The only user of pydantic_settings."""

from bot.config.load import load
from bot.config.settings import Settings

__all__ = ["Settings", "load"]

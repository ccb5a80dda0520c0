"""The configuration: settings that are checked and frozen. Sole owner of pydantic_settings."""

from bot.config.load import load
from bot.config.settings import Settings

__all__ = ["Settings", "load"]

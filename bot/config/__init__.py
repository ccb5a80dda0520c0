"""The configuration: settings that are checked and frozen. Sole owner of pydantic_settings."""

from bot.config.read import load
from bot.config.sections import Settings

__all__ = ["Settings", "load"]

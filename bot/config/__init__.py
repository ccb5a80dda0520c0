"""The configuration: checked, frozen settings. The only user of pydantic_settings."""

from bot.config.load import load, load_accounts
from bot.config.settings import Settings

__all__ = ["Settings", "load", "load_accounts"]

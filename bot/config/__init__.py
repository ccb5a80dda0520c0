"""The configuration: checked, frozen settings. `load` reads them, and alone needs pydantic."""

from bot.config.settings import Settings

__all__ = ["Settings"]

"""mouseflow-bot: watches a Mouseflow account by rules and acts."""

from mouseflow import __version__

__all__ = ["__version__"]

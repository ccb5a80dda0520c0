"""mouseflow-bot: watches a Mouseflow account by rules and acts."""

__version__ = "0.1.0"

"""Budgets: count what is used, decide, switch websites, and say so."""

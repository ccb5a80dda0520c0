"""Feedback, funnels, forms, pages and websites: fetch figures and keep alert states."""

"""Past recordings evaluated by the current rules: backfill, replay, plan, tune, explain."""

"""Rule files -> rules: conditions, actions, budgets, tests, lints, and the JSON Schema."""

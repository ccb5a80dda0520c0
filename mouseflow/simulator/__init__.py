"""A pretend Mouseflow and a pretend Slack that keep to the vendors' documents."""

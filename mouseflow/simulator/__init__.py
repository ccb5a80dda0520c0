"""A simulated Mouseflow and a simulated Slack that follow the vendors' documents."""

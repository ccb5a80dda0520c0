"""Slack, as the outside world that it is: the sole owner of slack_sdk."""

"""The status page, its JSON API, metrics and hooks: imported only if `[web] listen` is set.

A page reads the store and what the daemon has in memory. It never causes a request to Mouseflow
or Slack.
"""

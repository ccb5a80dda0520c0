"""The compiled decision: all rules of a website at once, equal to `bot.rules.evaluate`."""

"""Pure values that the store and everything above it share."""

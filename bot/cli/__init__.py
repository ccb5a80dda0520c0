"""The commands, one file each; the parser and the only error boundary are in `main`."""

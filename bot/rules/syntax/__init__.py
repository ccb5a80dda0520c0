"""YAML and TOML as nodes with positions, and the reading of single values from them."""

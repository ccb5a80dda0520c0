"""Rule files: YAML and TOML to rules, with positions for errors, and the JSON Schema."""

"""The catalogue of fields: what rules and messages may ask about each kind of subject."""

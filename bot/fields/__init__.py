"""The catalogue of fields: what a rule may ask about each kind of subject."""

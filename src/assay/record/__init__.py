"""The typed record: what a run writes, its JSON Schema, and one reader of every version."""

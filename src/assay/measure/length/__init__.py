"""Length in bits."""

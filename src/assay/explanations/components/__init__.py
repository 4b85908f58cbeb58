"""Component sets: these parts suffice, are needed, or are constant."""

"""Programs: the claim that parts compute what is written down, and the library of what can be written."""

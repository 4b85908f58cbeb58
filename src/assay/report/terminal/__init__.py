"""What stands in a terminal: the card, sections, the progress of a run, a search, several runs."""

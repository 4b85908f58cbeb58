"""Simple methods, a file each: used as rivals, as searchers and as contestants."""

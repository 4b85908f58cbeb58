"""Self-contained HTML pages: of a measurement, of a search, over a folder of runs."""

"""Runs on disk: a folder is written whole or not at all, equal records as equal bytes; and the register of tries."""

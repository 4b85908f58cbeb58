"""Runs on disk: a folder is written whole or not at all, equal records as equal bytes; and the register of tries."""

from assay.store.canonical import canonical_json
from assay.store.register import Entry, Tried
from assay.store.runs import SCHEMA, check_target, read_record, read_run, write_run

__all__ = ["SCHEMA", "Entry", "Tried", "canonical_json", "check_target", "read_record", "read_run", "write_run"]

"""Draws stored records: takes a record and its per-token table, gives terminal tables, one page, Markdown, pictures.

It knows nothing of models: everything that it says is in the record.
"""

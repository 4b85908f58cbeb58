"""The engine of edits: parts are given values in the model's own run."""

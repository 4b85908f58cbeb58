"""Subspaces: of a site only some directions matter."""

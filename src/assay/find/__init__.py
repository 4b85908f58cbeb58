"""Explanations found automatically. Today: heads ranked by how they attend."""

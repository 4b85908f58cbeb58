"""Circuits: these edges suffice."""

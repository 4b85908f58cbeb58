"""Hypotheses: a high-level model whose variables some places of the network are said to carry."""

from assay.names import Level

LEVEL: Level = "what"  # what a hypothesis claims

"""Hypotheses: a high-level model whose variables some places of the network are said to carry."""

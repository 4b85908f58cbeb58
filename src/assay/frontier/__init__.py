"""Explanations that grow along one ranking: sizes, bands of random ones, areas."""

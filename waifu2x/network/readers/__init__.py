"""Readers of weights, one module per file format."""

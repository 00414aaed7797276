"""Readers and writers of weights, wherever the community keeps them."""

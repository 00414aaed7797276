"""The model manifest, as package data."""

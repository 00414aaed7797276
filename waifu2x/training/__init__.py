"""Trains the networks of this package: pictures, their degradation, and the training itself."""

"""Writes networks: a graph becomes the bytes of a file of another program."""

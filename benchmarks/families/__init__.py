"""Compares every model family with ncnn on the same weights; see benchmarks/README.md."""

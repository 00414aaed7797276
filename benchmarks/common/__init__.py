"""Shared by the benchmarks: environment, samples, tables, pictures, processes, parts."""

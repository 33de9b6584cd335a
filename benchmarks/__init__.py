"""Measurements: each module prints a table and writes it as JSON under ``benchmarks/results``."""

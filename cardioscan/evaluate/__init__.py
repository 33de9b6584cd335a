"""Digitized signals against the truth."""

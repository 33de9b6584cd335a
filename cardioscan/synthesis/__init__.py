"""Rendering training pages with exact ground truth."""

"""Generated from ``proto/cardioscan/v1/digitizer.proto`` by ``python proto/generate.py``."""

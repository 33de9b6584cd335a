"""Reaching CardioScan: the command line ``cardioscan`` and the batches behind it."""

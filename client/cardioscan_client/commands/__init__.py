"""The commands of ``cardioscan``, a module each."""

"""Commands of ``cardioscan`` that have a module of their own."""

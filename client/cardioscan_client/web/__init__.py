"""The web page and its REST interface: ``cardioscan web``. Needs the extra ``web``."""

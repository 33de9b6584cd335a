"""Pictures: reading them, and the geometry of sampling them."""

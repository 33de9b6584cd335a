"""What is printed where on a flat page."""

"""From the picture to the flat page: its lattice of printed lines."""

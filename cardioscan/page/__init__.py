"""What is printed on a page: leads, the sheet, layouts, the scale, and what was measured on one page."""

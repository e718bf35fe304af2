"""Results as a page, as charts and on the terminal."""

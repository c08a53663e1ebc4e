"""The tab in which people make molecules."""

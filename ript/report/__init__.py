"""Pages that report results: one HTML file that needs nothing else, and the same as Markdown."""

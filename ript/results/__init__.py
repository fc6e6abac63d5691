"""What evaluations and runs found, and how it is shown: counts, logs, videos, pages."""

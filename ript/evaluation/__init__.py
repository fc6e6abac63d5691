"""Success rates with intervals, and videos."""

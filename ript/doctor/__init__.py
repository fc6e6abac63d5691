"""What is installed, what works and how fast, and what keeps a run from starting."""

"""Simulated environments, their worker processes and the runner on top of them."""

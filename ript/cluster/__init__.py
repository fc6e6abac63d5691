"""Rollout workers and simulators on this machine and others; the only part that imports Ray."""

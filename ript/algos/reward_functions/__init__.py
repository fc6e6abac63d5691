"""Reward functions: episode in, scalar out."""

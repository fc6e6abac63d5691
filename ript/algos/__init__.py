"""Policies, RL optimizers and reward functions."""

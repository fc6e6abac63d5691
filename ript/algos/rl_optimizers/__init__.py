"""Rollouts, advantages, windows and the losses that learn from them."""

"""Losses as pure functions of a policy and a batch of windows."""

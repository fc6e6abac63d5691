"""Policies: a network with its tokenizer, statistics and parameter groups."""

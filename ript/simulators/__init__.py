"""Simulators: a folder each; nothing outside it knows a simulator's name. See `ript.simulators.registry`."""

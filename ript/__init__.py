"""RIPT-π0: reinforcement learning of flow-matching robot policies on LIBERO.

Importing this package imports nothing else: no torch, no simulator, no side effect.
"""

__version__ = "0.1.0"

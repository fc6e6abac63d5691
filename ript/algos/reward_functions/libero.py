"""The reward under the path that RIPT's users know."""

from ript.algos.reward_functions.success import SuccessReward

__all__ = ["SuccessReward"]

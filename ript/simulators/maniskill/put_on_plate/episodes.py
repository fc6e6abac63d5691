"""Which of RLinf's numbered episodes a seed is: a background, two places on the table, and how the object is turned."""

from __future__ import annotations

import numpy as np

from ript.simulators.named_tasks import EVALUATION_SEED, EVALUATION_STARTS


def draw_episode(seed: int, episodes: int) -> int:
    """One of a task's `episodes`, 0 to episodes − 1, with equal probability.

    Each of evaluation's 100 seeds has an episode of its own, which no other seed is. Other seeds may be equal ones.

    Args:
        seed: 0 to 2³² − 1.
        episodes: more than 100.
    """
    order = np.random.RandomState(EVALUATION_SEED).permutation(episodes)
    number = seed - EVALUATION_SEED
    if not 0 <= number < EVALUATION_STARTS:
        number = np.random.RandomState(seed).randint(EVALUATION_STARTS, episodes)
    return int(order[number])

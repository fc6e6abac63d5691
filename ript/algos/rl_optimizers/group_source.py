"""Where groups of rollouts are played: in this process, or (`ript.cluster`) by workers on other machines."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ript.algos.rl_optimizers.contexts import Context
from ript.env_runner.episode import Episode
from ript.env_runner.policy import Policy
from ript.seeds import Word, entropy


@dataclass(frozen=True)
class GroupRequest:
    """Groups of one task that are played together. With the weights of the policy it fixes their episodes."""

    contexts: tuple[Context, ...]
    """One per group, all of one task."""
    group_size: int
    """K, rollouts per group."""
    iteration: int
    seed: int
    """Of the run; with the iteration it seeds the policy's noise."""
    film: bool = False
    """Record video frames of the first group."""

    @property
    def context_ids(self) -> tuple[int, ...]:
        """The numbers of the contexts."""
        return tuple(context.context_id for context in self.contexts)


class GroupSource(Protocol):
    """Plays groups. The episodes of a request do not depend on what else was asked for."""

    staleness: int
    """How many iterations old the weights are that the next iteration's groups are played with: 0 or 1."""

    def act_with(self, actor: Policy, iteration: int) -> None:
        """Says what plays this iteration's groups. With staleness its weights are kept, if they are not already."""

    def expect(self, requests: Sequence[GroupRequest]) -> None:
        """These will be asked for, in this order: a source may begin."""

    def play(self, request: GroupRequest) -> Iterator[list[Episode]]:
        """The groups of a request, K episodes each, in the order of its contexts. Raises EnvironmentFailure."""

    def recover(self) -> None:
        """Starts anew what an EnvironmentFailure may have left broken."""

    def save(self, folder: Path) -> None:
        """Writes what a resumed run needs into a folder that all ranks share."""

    def load(self, folder: Path) -> None:
        """Restores it. Raises ValueError naming a damaged file."""

    def close(self) -> None:
        """Frees what it started; a second call does nothing."""


class LocalGroups:
    """Plays groups in this process.

    Args:
        env_runner: a runner with `create_env`, `run_policy_in_env`, `close`, `benchmark` (see `Runner`).
    """

    staleness = 0

    def __init__(self, env_runner: Any):
        self._runner = env_runner
        self._actor: Any = None

    def act_with(self, actor: Policy, iteration: int) -> None:
        """Takes the policy as it is whenever it plays."""
        self._actor = actor

    def expect(self, requests: Sequence[GroupRequest]) -> None:
        """Begins nothing: this process has other things to do meanwhile."""

    def play(self, request: GroupRequest) -> Iterator[list[Episode]]:
        """The groups, each as soon as it is complete. Raises EnvironmentFailure."""
        return play_groups(self._runner, self._actor, request)

    def recover(self) -> None:
        """The next call starts new simulators."""
        self._runner.close()

    def save(self, folder: Path) -> None:
        """There is nothing to save."""

    def load(self, folder: Path) -> None:
        """There is nothing to restore."""

    def close(self) -> None:
        """The runner belongs to whoever made it."""


def play_groups(runner: Any, actor: Policy, request: GroupRequest) -> Iterator[list[Episode]]:
    """The groups of a request, which fill the runner's environments together; each as soon as it is complete."""
    size, contexts = request.group_size, request.contexts
    members = [(context, member) for context in contexts for member in range(size)]
    task_name = runner.benchmark.get_task_names()[contexts[0].task_id]
    rollouts = runner.run_policy_in_env(
        task_name,
        actor,
        all_init_states=[context.init_state for context, _ in members],
        render=[request.film and context is contexts[0] for context, _ in members],
        created_env=runner.create_env(task_name),
        scene_seeds=[context.scene_seed for context, _ in members],
        noise_seeds=[
            entropy(Word.ROLLOUT, request.seed, request.iteration, context.context_id, member)
            for context, member in members
        ],
    )
    for _ in contexts:
        yield [episode for _, _, episode in itertools.islice(rollouts, size)]

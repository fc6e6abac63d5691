"""What the server runs for each request: the policy, from openpi's observation to the robot's actions."""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.device import choose_device
from ript.env_runner.pi0_io import actions_to_env, collate_observations
from ript.models.pi0.dims import PADDED_DIM
from ript.policy_options import chosen
from ript.serve.codec import MessageError
from ript.serve.observation import Request, RequestReader


def load_policy(options: argparse.Namespace) -> PI0_OFT_Policy:
    """The policy of the command line, for inference only. Raises FileNotFoundError or ValueError."""
    policy = PI0_OFT_Policy(
        device_id=choose_device(options.device).index,
        pretrained_path=options.pretrained_path,
        norm_stats_path=options.norm_stats,
        tokenizer_path=options.tokenizer,
        condition_mode=options.condition_mode,
        **chosen(options),
        dtype=options.dtype,
        num_steps=options.num_steps,
    )
    policy.model.requires_grad_(False)
    policy.model.set_precision(policy.model.compute_dtype)  # now that all is frozen, all of it is stored so
    return policy


class PolicyInference:
    """A policy with its guidance and its noise.

    Args:
        policy: only used from one thread at a time.
        cfg_scale: guidance scale; 1 is the positive branch alone.
        default_prompt: for requests without one.
        seed: each connection's n-th noise then depends on the seed and n alone; None draws fresh noise.
    """

    def __init__(
        self,
        policy: PI0_OFT_Policy,
        cfg_scale: float = 1.0,
        default_prompt: str | None = None,
        seed: int | None = None,
    ):
        self.policy = policy
        self.cfg_scale = cfg_scale
        self.default_prompt = default_prompt
        self.seed = seed
        self._reader = RequestReader(policy.card.cameras, policy.state_dim)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a client is told when it connects."""
        policy = self.policy
        return {
            "server": "ript-pi0",
            "model": policy.kind,
            "observation_keys": list(self._reader.keys),
            "action_horizon": policy.chunk_size,
            "state_dim": policy.state_dim,
            "action_dim": policy.action_dim,
            "image_size": policy.image_size,
            "open_loop": policy.open_loop,
            "delta_actions": policy.card.delta_actions,
            "discrete_state_input": policy.card.discrete_state_input,
            "normalization": policy.card.normalization,
            "condition_mode": policy.card.condition_mode,
            "cfg_scale": self.cfg_scale,
            "num_steps": policy.num_steps,
            "default_prompt": self.default_prompt,
        }

    def read(self, message: Mapping[str, Any]) -> Request:
        """Checks a message. Raises MessageError."""
        return self._reader.read(message, self.default_prompt)

    def run(self, request: Request, number: int) -> np.ndarray:
        """The connection's request `number` → actions (H, A) float64 in the robot's units.

        Raises MessageError for a request that the policy refuses, RuntimeError when actions are not finite.
        """
        policy, stats = self.policy, self.policy.norm_stats
        observation = collate_observations([request.to_pi0(stats)])
        try:
            chunk = policy.select_action(observation, cfg_scale=self.cfg_scale, noise=self.noise(number))
        except ValueError as error:  # such as a prompt of too many tokens
            raise MessageError(str(error)) from error
        start = request.state if policy.card.delta_actions else None
        actions = actions_to_env(chunk[0].float().cpu().numpy(), stats, start)
        if not np.isfinite(actions).all():
            raise RuntimeError("the policy's actions hold NaN or Inf")
        return actions

    def noise(self, number: int) -> torch.Tensor:
        """(1, H, 32)."""
        sequence = np.random.SeedSequence(None if self.seed is None else [self.seed, number])
        generator = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        return torch.randn((1, self.policy.chunk_size, PADDED_DIM), generator=generator)

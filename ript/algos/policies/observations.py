"""Observations on their way into the network: tensors, then keys and values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ript.models.pi0.config import Pi0Architecture
from ript.models.pi0.dims import PADDED_DIM
from ript.models.pi0.modeling import Prefix
from ript.models.pi0.policy_card import PolicyCard
from ript.models.pi0.preprocess import prepare_images, prepare_prompts

MAX_PROMPT_TOKENS = {"pi0": 48, "pi05": 200}


@dataclass(frozen=True)
class PreparedObservation:
    """A batch of observations as tensors on the policy's device."""

    images: Tensor
    """(B, cameras, 3, S, S) in [-1, 1], one for each of the card's cameras."""
    tokens: Tensor
    """(B, L) token ids."""
    token_mask: Tensor
    """(B, L), 1 where the token is real."""
    state: Tensor
    """(B, 32), normalised, zero-padded."""


class EncodedObservation(NamedTuple):
    """What the expert needs of a batch of observations."""

    prefix: Prefix
    """Keys and values of images and language."""
    state: Tensor
    """(B, 32), normalised, zero-padded."""


def prepare_observation(
    observation: Mapping[str, Any],
    card: PolicyCard,
    tokenizer: Tokenizer,
    architecture: Pi0Architecture,
    device: torch.device,
) -> PreparedObservation:
    """A collated observation (see `ript.env_runner.pi0_runner_utils`) → tensors. Raises KeyError: no such image."""
    missing = [name for name in card.cameras if name not in observation["image"]]
    if missing:
        raise KeyError(f"observation lacks images {missing}; it has {sorted(observation['image'])}")
    size = architecture.vision.image_size
    images = [prepare_images(observation["image"][name], size, device) for name in card.cameras]
    values = np.asarray(observation["state"], np.float32)
    in_prompt = values if card.discrete_state_input else None
    longest = MAX_PROMPT_TOKENS[architecture.kind]
    tokens, mask = prepare_prompts(observation["prompt"], tokenizer, longest, in_prompt, architecture.vocab_size)
    state = torch.as_tensor(values).to(device)
    state = nn.functional.pad(state, (0, PADDED_DIM - state.shape[-1]))
    return PreparedObservation(torch.stack(images, dim=1), tokens.to(device), mask.to(device), state)

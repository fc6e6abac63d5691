"""Heads beside the velocity: a critic, how much noise a denoising step gets (π_RL), which noise is denoised (DSRL).

They lie in files of their own beside the policy's weights, so that other programs load the folder as before.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ript.checks import one_of, whole_number
from ript.models.pi0.dims import PADDED_DIM
from ript.models.pi0.folders import LATENT_ACTOR
from ript.models.pi0.latent_actor import LatentActor
from ript.models.pi0.weights_file import apply_umask, named_tensors

logger = logging.getLogger(__name__)


class ValueHead(nn.Module):
    """An MLP with ReLU on the mean of a token sequence. It starts with values near 0."""

    def __init__(self, width: int, hidden: Sequence[int] = (512, 256, 128)):
        super().__init__()
        last = nn.Linear(hidden[-1], 1)
        nn.init.normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(*_hidden_layers([width, *hidden], nn.ReLU), last)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, T, width), of which `mask` (B, T) is 1 for the real ones → values (B,)."""
        weights = tokens.new_ones(tokens.shape[:2]) if mask is None else mask.to(tokens.dtype)
        mean = (tokens * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
        return self.mlp(mean).squeeze(-1)


class LogStdHead(nn.Module):
    """An MLP with tanh on each action token, squashed into a range of standard deviations.

    ln σ = ½·(ln σ²_min + (ln σ²_max - ln σ²_min)·(tanh(h) + 1)/2). It starts in the middle: σ = sqrt(σ_min·σ_max).

    Args:
        width: of the expert's tokens.
        noise_logvar_range: σ_min and σ_max, above 0. (The name is the field's; the numbers are standard deviations.)
        hidden: widths of the hidden layers.

    Raises ValueError for a range that is none.
    """

    def __init__(
        self, width: int, noise_logvar_range: Sequence[float] = (0.08, 0.16), hidden: Sequence[int] = (128, 64, 32)
    ):
        super().__init__()
        low, high = noise_logvar_range
        if not 0 < low <= high:
            raise ValueError(f"noise_logvar_range={[low, high]} is not valid: must be two std, above 0 and in order")
        self.log_range = (math.log(low), math.log(high))
        last = nn.Linear(hidden[-1], PADDED_DIM)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(*_hidden_layers([width, *hidden], nn.Tanh), last)

    def forward(self, tokens: Tensor) -> Tensor:
        """Action tokens (B, H, width) → ln σ (B, H, 32)."""
        low, high = self.log_range
        return low + (high - low) * (torch.tanh(self.mlp(tokens)) + 1) / 2


@dataclass(frozen=True)
class HeadSettings:
    """Which heads a policy has.

    Args:
        add_value_head: a critic.
        value_after_vlm: it reads the mean of the prefix over its real tokens, which does not depend on the noise;
            otherwise the mean of the expert's action tokens.
        detach_critic_input: the critic's loss changes the critic alone; after the VLM it always does.
        sampler: `noise` needs the head that gives its standard deviation, `latent` the actor that decides the initial
            noise; then the critic reads what that actor reads.
        noise_logvar_range: see `LogStdHead`.
        latent_repeat: the latent actor decides one row of the noise, which is repeated over the horizon; or all rows.
        dsrl_hidden_dims: widths of its hidden layers.
        dsrl_state_dim: width of what it reads, prefix and state: None is the model's, another is refused.
    """

    add_value_head: bool = False
    value_after_vlm: bool = False
    detach_critic_input: bool = True
    sampler: str = "ode"
    noise_logvar_range: Sequence[float] = (0.08, 0.16)
    latent_repeat: bool = True
    dsrl_hidden_dims: Sequence[int] = (512, 256, 128)
    dsrl_state_dim: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for key in ("add_value_head", "value_after_vlm", "detach_critic_input", "latent_repeat"):
            one_of(key, getattr(self, key), (True, False))
        if self.value_after_vlm and not self.add_value_head:
            raise ValueError("value_after_vlm needs add_value_head=true")
        if self.value_after_vlm and not self.detach_critic_input:
            raise ValueError("detach_critic_input=false is not valid with value_after_vlm: no gradient goes there")
        if self.sampler == "latent" and (self.value_after_vlm or not self.detach_critic_input):
            raise ValueError(
                "sampler=latent: its critic reads prefix and state, which value_after_vlm=true or "
                "detach_critic_input=false would change"
            )
        if not self.dsrl_hidden_dims:
            raise ValueError("dsrl_hidden_dims=[] is not valid: must be widths of hidden layers")
        for width in self.dsrl_hidden_dims:
            whole_number("dsrl_hidden_dims", width, 1)
        whole_number("dsrl_state_dim", self.dsrl_state_dim, 1)


class Heads(nn.Module):
    """The heads of one policy.

    Args:
        settings: which.
        expert_width, prefix_width: of the tokens that they read.
        chunk_size: actions H per chunk.
        state_dim: numbers of the robot's state.

    Raises ValueError for a `dsrl_state_dim` that is not the model's.
    """

    def __init__(self, settings: HeadSettings, expert_width: int, prefix_width: int, chunk_size: int, state_dim: int):
        super().__init__()
        self.settings, self.chunk_size = settings, chunk_size
        self.latent_width = prefix_width + state_dim
        if settings.dsrl_state_dim not in (None, self.latent_width):
            raise ValueError(
                f"dsrl_state_dim={settings.dsrl_state_dim} is not valid: this model's is {self.latent_width}, "
                f"{prefix_width} of the prefix and {state_dim} of the state; null takes it"
            )
        self.value: ValueHead | None = None
        self.log_std: LogStdHead | None = None
        self.latent_actor: LatentActor | None = None
        if self.trains_latent:
            rows = 1 if settings.latent_repeat else chunk_size
            self.latent_actor = LatentActor(self.latent_width, rows, settings.dsrl_hidden_dims)
        if settings.add_value_head:
            seen = self.latent_width if self.trains_latent else expert_width
            self.value = ValueHead(prefix_width if settings.value_after_vlm else seen)
        if settings.sampler == "noise":
            self.log_std = LogStdHead(expert_width, settings.noise_logvar_range)

    @property
    def trains_latent(self) -> bool:
        """The latent actor is not only used, but trained."""
        return self.settings.sampler == "latent"

    def load(self, folder: Path) -> None:
        """Takes the heads that the folder has; others stay as they start. Raises ValueError naming a file that does not
        fit.

        A latent actor is part of the policy, whether it was asked for or not.
        """
        if self.latent_actor is None and (folder / LATENT_ACTOR).is_file():
            self.latent_actor = _latent_actor(folder / LATENT_ACTOR, self.latent_width, self.chunk_size)
            logger.info("%s has a latent actor: it decides the initial noise", folder)
        for name, head in self.named_children():
            path = folder / _file(name)
            if not path.is_file():
                logger.info("%s has no %s: the head is new", folder, path.name)
                continue
            try:
                head.load_state_dict(load_file(path))
            except (SafetensorError, RuntimeError) as error:
                what = " ".join(str(error).split())  # torch says it in several lines
                raise ValueError(f"{path}: not this policy's {_part(name)} ({what})") from error

    def save(self, folder: Path) -> None:
        """Writes `value_head.safetensors`, `log_std_head.safetensors`, `latent_actor.safetensors`, as far as there are
        such heads."""
        for name, head in self.named_children():
            path = folder / _file(name)
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in named_tensors(head).items()}, path)
            apply_umask(path)


def _part(name: str) -> str:
    return "latent actor" if name == "latent_actor" else f"{name} head"


def _file(name: str) -> str:
    return f"{_part(name).replace(' ', '_')}.safetensors"


def _latent_actor(path: Path, width: int, chunk_size: int) -> LatentActor:
    """One of the file's sizes, with new weights. Raises ValueError."""
    try:
        actor = LatentActor.of_sizes(load_file(path))
    except (SafetensorError, LookupError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not a latent actor ({error!r})") from error
    if actor.width != width or actor.rows not in (1, chunk_size):
        found = f"it reads {actor.width} features and decides {actor.rows} rows of noise"
        raise ValueError(f"{path}: not this policy's latent actor: {found}, the policy has {width} and {chunk_size}")
    return actor


def _hidden_layers(widths: Sequence[int], activation: type[nn.Module]) -> list[nn.Module]:
    """A linear layer and an activation from each width to the next."""
    return [layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), activation())]

"""The π0 policy: network, tokenizer, statistics and parameter groups."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ript.data.norm_stats import ACTION_DIM, PADDED_DIM, NormStats, find_norm_stats
from ript.models.pi0.checkpoint import PolicyCard, load_model, read_policy_card, save_model
from ript.models.pi0.config import small_pi0_config
from ript.models.pi0.modeling import Pi0FlowModel, Prefix
from ript.models.pi0.preprocess import CAMERAS, prepare_image, prepare_prompts
from ript.models.pi0.sampler import sample_actions

logger = logging.getLogger(__name__)

DEFAULT_FOLDER = Path(__file__).parents[2] / "assets" / "small_pi0"
"""Tokenizer and statistics of the small default model."""
MAX_PROMPT_TOKENS = 48
HEADER_MODULES = ("embed_action_time.", "action_out_proj.", "condition.")


@dataclass(frozen=True)
class PreparedObservation:
    """A batch of observations as tensors on the policy's device."""

    images: Tensor
    """(B, 2, 3, S, S) in [-1, 1], in the order of `CAMERAS`."""
    tokens: Tensor
    """(B, L) token ids."""
    token_mask: Tensor
    """(B, L), 1 where the token is real."""
    state: Tensor
    """(B, 32), normalised, zero-padded."""


class PI0_OFT_Policy:
    """π0 as RIPT sees it. Everything is loaded from local files; nothing reaches a network.

    Args:
        device_id: CUDA device index; None is the CPU.
        pretrained_path: a policy folder. None is the small π0 that ships with the project, untrained.
        norm_stats_path: statistics; None takes those inside the folder.
        tokenizer_path: a `tokenizers` JSON; None takes the one inside the folder.
        condition_mode: `concat`, `bias` or `token`; it must be the checkpoint's.
        freeze_vision_encoder: no gradient for the vision tower.
        train_expert_only: no gradient for the whole vision-language model.
        num_steps: Euler steps from noise to actions.

    Raises FileNotFoundError or ValueError naming the file, key and valid values.
    """

    model: Pi0FlowModel
    """The torch module."""
    norm_stats: NormStats
    trainable_params: dict[str, list[nn.Parameter]]
    """`model` and `header`: disjoint, together exactly the parameters with `requires_grad`."""

    def __init__(
        self,
        device_id: int | None = None,
        pretrained_path: str | None = None,
        norm_stats_path: str | None = None,
        tokenizer_path: str | None = None,
        condition_mode: str = "concat",
        freeze_vision_encoder: bool = False,
        train_expert_only: bool = False,
        num_steps: int = 10,
    ):
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        self.device = torch.device("cpu" if device_id is None else f"cuda:{device_id}")
        self.num_steps = num_steps
        self.verbose = False
        folder = _policy_folder(pretrained_path)
        self.card = PolicyCard(condition_mode) if pretrained_path is None else read_policy_card(folder)
        if self.card.condition_mode != condition_mode:
            raise ValueError(
                f"{folder} was trained with condition_mode {self.card.condition_mode!r}, not {condition_mode!r}"
            )
        self.norm_stats_path = Path(norm_stats_path) if norm_stats_path else find_norm_stats(folder)
        self.norm_stats = NormStats.load(self.norm_stats_path, self.card.normalization)
        self.tokenizer = _load_tokenizer(Path(tokenizer_path) if tokenizer_path else folder / "tokenizer.json")
        self.model = self._build(folder, pretrained_path is None)
        nn.Module.to(self.model, self.device)
        self._freeze(freeze_vision_encoder, train_expert_only)
        self.trainable_params = group_parameters(self.model)

    @property
    def image_size(self) -> int:
        """Side of the images the network sees, in pixels."""
        return self.model.vlm_config.vision_config.image_size

    @property
    def chunk_size(self) -> int:
        """Actions per chunk."""
        return self.model.config.chunk_size

    def prepare(self, observation: Mapping[str, Any]) -> PreparedObservation:
        """A collated observation (see `ript.env_runner.pi0_runner_utils`) → tensors on the device."""
        missing = [name for name in CAMERAS if name not in observation["image"]]
        if missing:
            raise KeyError(f"observation lacks images {missing}; it has {sorted(observation['image'])}")
        images = [
            prepare_image(torch.as_tensor(observation["image"][name]).to(self.device), self.image_size)
            for name in CAMERAS
        ]
        tokens, mask = prepare_prompts(observation["prompt"], self.tokenizer, MAX_PROMPT_TOKENS)
        state = torch.as_tensor(np.asarray(observation["state"], np.float32)).to(self.device)
        state = nn.functional.pad(state, (0, PADDED_DIM - state.shape[-1]))
        return PreparedObservation(torch.stack(images, dim=1), tokens.to(self.device), mask.to(self.device), state)

    def prefix(self, prepared: PreparedObservation) -> Prefix:
        """Images and language, encoded once."""
        return self.model.prefix(prepared.images, prepared.tokens, prepared.token_mask)

    @torch.no_grad()
    def select_action(
        self,
        observation: Mapping[str, Any],
        cfg_scale: float = 1.0,
        is_positive: int | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A batch of observations → normalised action chunks (B, chunk_size, 7).

        `cfg_scale` 1 is the positive branch alone; `is_positive` forces one branch. `noise` is (B, chunk_size, 32),
        drawn from `generator` when absent.
        """
        start = time.perf_counter()
        prepared = self.prepare(observation)
        if noise is None:
            shape = (prepared.state.shape[0], self.chunk_size, PADDED_DIM)
            noise = torch.randn(shape, generator=generator)
        chunk = sample_actions(
            self.model,
            self.prefix(prepared),
            prepared.state,
            noise.to(self.device),
            num_steps=self.num_steps,
            cfg_scale=cfg_scale,
            is_positive=is_positive,
        )[..., :ACTION_DIM]
        if self.verbose:
            logger.info("inference %.3f s, actions %s", time.perf_counter() - start, tuple(chunk.shape))
        return chunk

    def save(self, folder: Path) -> None:
        """Writes a policy folder that `pretrained_path` loads again."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, self.model, self.card)
        (folder / "norm_stats.json").write_text(self.norm_stats_path.read_text())
        self.tokenizer.save(str(folder / "tokenizer.json"))

    def _build(self, folder: Path, untrained: bool) -> Pi0FlowModel:
        if not untrained:
            return load_model(folder, self.card.condition_mode)
        logger.warning("no pretrained_path: the small default π0 starts from random weights")
        return Pi0FlowModel(small_pi0_config(), self.card.condition_mode)

    def _freeze(self, vision: bool, vlm: bool) -> None:
        if vision or vlm:
            self.model.model.vlm.vision_tower.requires_grad_(False)
        if vlm:
            self.model.model.vlm.requires_grad_(False)


def group_parameters(model: Pi0FlowModel) -> dict[str, list[nn.Parameter]]:
    """`header`: the small projections, the time MLP and the condition embedding; `model`: all other trainable ones."""
    groups: dict[str, list[nn.Parameter]] = {"model": [], "header": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups["header" if name.startswith(HEADER_MODULES) else "model"].append(parameter)
    return groups


def _policy_folder(pretrained_path: str | None) -> Path:
    if pretrained_path is None:
        return DEFAULT_FOLDER
    folder = Path(pretrained_path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"pretrained_path is not a folder: {folder}")
    return folder


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise FileNotFoundError(f"tokenizer not found: {path}; set tokenizer_path")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise ValueError(f"{path}: not a tokenizer file ({error})") from error

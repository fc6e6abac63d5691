"""The π0 policy: network, tokenizer, statistics and parameter groups."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ript.checks import one_of
from ript.distributed import Distributed
from ript.flow.decision import Decision, Latent, Score, ValueFn, decide, score
from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Chain, Ode
from ript.models.pi0.checkpoint import Origin, load_model, save_model, start_lora
from ript.models.pi0.conditioning import CONDITION_MODES
from ript.models.pi0.config import Kind, small_pi0_config
from ript.models.pi0.dims import PADDED_DIM
from ript.models.pi0.folders import find_policy_folder
from ript.models.pi0.guidance import branch_flow, guided_flow
from ript.models.pi0.heads import Heads, HeadSettings
from ript.models.pi0.lora import LoraSettings, merge_lora
from ript.models.pi0.modeling import HEADER_MODULES, Pi0FlowModel, Prefix
from ript.models.pi0.norm_stats import MODES, Mode, NormStats
from ript.models.pi0.policy_card import PolicyCard
from ript.models.pi0.preprocess import check_tokenizer, load_tokenizer, prepare_images, prepare_prompts
from ript.models.pi0.stats_source import StatsSource, find_stats
from ript.models.pi0.usage import KEYS, CardSource, find_card
from ript.sharding import Sharding

logger = logging.getLogger(__name__)

DEFAULT_FOLDER = Path(__file__).parents[2] / "assets" / "small_pi0"
"""The small π0 that ships with the project; its README.md is the model card."""
MAX_PROMPT_TOKENS = {"pi0": 48, "pi05": 200}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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


class PI0_OFT_Policy:
    """π0 or π0.5 as RIPT sees it. Everything is loaded from local files; nothing reaches a network.

    Args:
        device_id: CUDA device index; None is the CPU.
        pretrained_path: a policy folder of openpi (PyTorch), LeRobot or this project, or a training checkpoint that
            holds one; see `ript.models.pi0.checkpoint`. None is the small π0 that ships with the project.
        base_path: where the weights are that an adapter in `pretrained_path` belongs to; None is where its card says.
        random_weights: instead of the small π0's trained weights start from new ones, of torch's global seed.
        norm_stats_path: statistics; None takes those inside the folder.
        tokenizer_path: a `tokenizers` JSON; None takes the one inside the folder.
        condition_mode: `concat`, `bias` or `token`; it must be the checkpoint's, if that was trained with one.
        delta_actions: actions relative to the chunk's start state; None is what the checkpoint says. openpi's say
            nothing: true with π0 and false with π0.5.
        discrete_state_input: π0.5 only: the state is part of the prompt; None is what the checkpoint says. LeRobot's
            π0.5 always has it there; openpi's say nothing: false, as in its LIBERO configuration.
        cameras: π0's names of the cameras that it looks through; others are masked. None is what the checkpoint says.
            openpi's say nothing: the scene's and the left wrist's, as in its LIBERO configuration.
        normalization: of state and actions: `z_score`, `quantile`, `min_max` or `identity`; None is what the checkpoint
            says. openpi's say nothing: z-score with π0, quantiles with π0.5.
        freeze_vision_encoder: no gradient for the vision tower.
        train_expert_only: no gradient for the whole vision-language model.
        freeze_policy: no gradient for the network at all; only heads are trained.
        lora: train adapters and the small projections only: keyword arguments of `LoraSettings`.
        dtype: `float32`, or `bfloat16`: the backbone computes in bfloat16, and what is frozen of it is stored so.
            Trainable parameters are float32 always, so that small updates are not lost to rounding.
        vision_checkpointing: recompute the vision tower in the backward pass instead of storing its activations.
        compile: torch.compile the velocity, which every denoising step calls. The first call with each batch size then
            takes half a minute or more; worth it on CUDA.
        num_steps: Euler steps from noise to actions.
        heads: a critic and what a random sampler needs; those that the folder has are loaded, others start new.

    Raises FileNotFoundError or ValueError naming the file, key and valid values.
    """

    model: Pi0FlowModel
    """The torch module."""
    heads: Heads
    """A critic, and the standard deviation of the `noise` sampler, where they were asked for."""
    card: PolicyCard
    """How the weights are used; saved with them."""
    norm_stats: NormStats
    stats: StatsSource
    """Where `norm_stats` are from."""
    folder: Path
    """Where the policy is from."""
    trainable_params: dict[str, list[nn.Parameter]]
    """`model` and `header`, unless the policy is frozen, `value` with a critic, `latent` with a latent actor that is
    trained: disjoint, together exactly the parameters with `requires_grad`."""
    sharding: Sharding | None = None
    """How ranks share the weights out; None: each has all of them."""

    def __init__(
        self,
        device_id: int | None = None,
        pretrained_path: str | None = None,
        random_weights: bool = False,
        norm_stats_path: str | None = None,
        tokenizer_path: str | None = None,
        condition_mode: str = "concat",
        delta_actions: bool | None = None,
        discrete_state_input: bool | None = None,
        cameras: Sequence[str] | None = None,
        normalization: Mode | None = None,
        freeze_vision_encoder: bool = False,
        train_expert_only: bool = False,
        freeze_policy: bool = False,
        lora: Mapping[str, Any] | None = None,
        dtype: str = "float32",
        vision_checkpointing: bool = False,
        compile: bool = False,
        num_steps: int = 10,
        base_path: str | None = None,
        heads: HeadSettings | None = None,
    ):
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        one_of("condition_mode", condition_mode, CONDITION_MODES)
        one_of("dtype", dtype, tuple(DTYPES))
        one_of("delta_actions", delta_actions, (None, True, False))
        one_of("discrete_state_input", discrete_state_input, (None, True, False))
        one_of("normalization", normalization, (None, *MODES))
        self.device = torch.device("cpu" if device_id is None else f"cuda:{device_id}")
        self.num_steps = num_steps
        self.verbose = False
        if freeze_policy and lora is not None:
            raise ValueError("lora is not valid with freeze_policy=true: adapters would not be trained")
        self._frozen_vision, self._frozen_vlm, self._frozen = freeze_vision_encoder, train_expert_only, freeze_policy
        self._dtype = DTYPES[dtype]
        self.folder = DEFAULT_FOLDER if pretrained_path is None else find_policy_folder(pretrained_path)
        settings = None if lora is None else LoraSettings.from_config(lora)
        if random_weights and pretrained_path is not None:
            raise ValueError("random_weights=True is not valid with pretrained_path: it is for the small π0")
        found = self._find_card(condition_mode, random_weights, settings).choose(
            delta_actions=delta_actions,
            discrete_state_input=discrete_state_input,
            cameras=cameras,
            normalization=normalization,
        )
        self.card = found.card
        self.stats = find_stats(self.folder, Path(norm_stats_path).expanduser() if norm_stats_path else None)
        self.norm_stats = NormStats.from_content(
            self.stats.path, self.stats.content, self.card.normalization, self.card.state_normalization
        )
        tokenizer = Path(tokenizer_path).expanduser() if tokenizer_path else self.folder / "tokenizer.json"
        self.tokenizer = load_tokenizer(tokenizer)
        self.model, self._origin = self._build(random_weights, base_path)
        try:
            check_tokenizer(self.tokenizer, self.model.architecture.vocab_size)
        except ValueError as error:
            raise ValueError(f"{tokenizer}: {error}") from error
        logger.info("%s: chunk of %d, %s, statistics of %s", self.folder, self.chunk_size, found, self.stats.path)
        if self.card.discrete_state_input and self.kind == "pi0":
            raise ValueError("discrete_state_input=True is not valid: π0 has a state token; it is for π0.5")
        if settings is not None and self.card.lora is None:
            self._origin = start_lora(self.folder, self.model, settings, self._origin)
            self.card = replace(self.card, lora=settings)
        if vision_checkpointing:
            self.model.checkpoint_vision()
        widths = self.model.expert_hidden_size, self.model.prefix_width
        self.heads = Heads(heads or HeadSettings(), *widths, self.chunk_size, self.state_dim)
        self.heads.load(self.folder)
        self._prepare_training()
        if compile:
            self.model.compile_velocity()

    @property
    def kind(self) -> Kind:
        """`pi0` or `pi05`."""
        return self.model.architecture.kind

    @property
    def image_size(self) -> int:
        """Side of the images the network sees, in pixels."""
        return self.model.architecture.vision.image_size

    @property
    def chunk_size(self) -> int:
        """Actions per chunk."""
        return self.model.architecture.chunk_size

    @property
    def state_dim(self) -> int:
        """Numbers of the robot's state."""
        return self.norm_stats.state.width

    @property
    def action_dim(self) -> int:
        """Numbers of an action, A."""
        return self.norm_stats.actions.width

    @property
    def open_loop(self) -> int:
        """Executed steps per inference, where nothing else is asked for."""
        return min(self.card.open_loop or self.chunk_size, self.chunk_size)

    @property
    def norm_stats_path(self) -> Path:
        """The file that the statistics are in."""
        return self.stats.path

    def prepare(self, observation: Mapping[str, Any]) -> PreparedObservation:
        """A collated observation (see `ript.env_runner.pi0_runner_utils`) → tensors on the device."""
        cameras = self.card.cameras
        missing = [name for name in cameras if name not in observation["image"]]
        if missing:
            raise KeyError(f"observation lacks images {missing}; it has {sorted(observation['image'])}")
        images = [prepare_images(observation["image"][name], self.image_size, self.device) for name in cameras]
        values = np.asarray(observation["state"], np.float32)
        in_prompt = values if self.card.discrete_state_input else None
        tokens, mask = prepare_prompts(
            observation["prompt"],
            self.tokenizer,
            MAX_PROMPT_TOKENS[self.kind],
            in_prompt,
            self.model.architecture.vocab_size,
        )
        state = torch.as_tensor(values).to(self.device)
        state = nn.functional.pad(state, (0, PADDED_DIM - state.shape[-1]))
        return PreparedObservation(torch.stack(images, dim=1), tokens.to(self.device), mask.to(self.device), state)

    def encode(self, observation: Mapping[str, Any]) -> EncodedObservation:
        """A collated observation → its prefix, encoded once for all steps and branches, and its state."""
        prepared = self.prepare(observation)
        prefix = self.model.prefix(prepared.images, prepared.tokens, prepared.token_mask)
        return EncodedObservation(prefix, prepared.state)

    @property
    def prefix_is_frozen(self) -> bool:
        """No trainable parameter changes what `encode` gives."""
        return not any(parameter.requires_grad for parameter in self.model.model.vlm.parameters())

    @torch.no_grad()
    def select_action(
        self,
        observation: Mapping[str, Any],
        cfg_scale: float = 1.0,
        is_positive: int | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A batch of observations → normalised action chunks (B, chunk_size, A); the short form of `act`.

        `noise` is drawn from `generator` when absent.
        """
        if noise is None:
            shape = (len(observation["state"]), self.chunk_size, PADDED_DIM)
            noise = torch.randn(shape, generator=generator)
        return self.act(observation, noise, cfg_scale=cfg_scale, is_positive=is_positive).actions

    @torch.no_grad()
    def act(
        self,
        observation: Mapping[str, Any],
        noise: Tensor,
        generators: Sequence[torch.Generator] = (),
        sampler: Ode | GaussianSteps | None = None,
        cfg_scale: float = 1.0,
        is_positive: int | None = None,
    ) -> Decision:
        """A batch of observations → a decision that can be learned from, with the critic's value if there is one.

        Args:
            noise: (B, chunk_size, 32), standard normal; a latent actor makes of it the noise that is denoised.
            generators: one CPU generator per observation, for a random sampler.
            sampler: None is `num_steps` Euler steps.
            cfg_scale: guidance; 1 is the positive branch alone, and the only one that a critic or a sampler sees.
            is_positive: force one branch.
        """
        start = time.perf_counter()
        encoded = self.encode(observation)
        flow = guided_flow(self.model, encoded.prefix, encoded.state, cfg_scale, is_positive)
        sampler = Ode(self.num_steps) if sampler is None else sampler
        critic = self._critic(encoded) if cfg_scale == 1.0 and is_positive is None else None
        noise, latent = self._steer(encoded, noise.to(self.device))
        decision = decide(sampler, flow, noise, generators, critic)
        decision = decision._replace(actions=decision.actions[..., : self.action_dim])
        if latent is not None:
            decision = decision._replace(latent=latent, value=self.score_latent(latent.features, latent.noise).value)
        if self.verbose:
            logger.info("inference %.3f s, actions %s", time.perf_counter() - start, tuple(decision.actions.shape))
        return decision

    def score(self, encoded: EncodedObservation, chain: Chain, sampler: GaussianSteps) -> Score:
        """The same decision seen by the weights of now, with gradients; `encoded` is the observation it was for."""
        return score(sampler, branch_flow(self.model, *encoded), chain, self._critic(encoded))

    def score_latent(self, features: Tensor, noise: Tensor) -> Score:
        """A decided initial noise (B, L, 32) seen by the latent actor of now, with gradients; `features` (B, F) are
        what it was decided from. Raises ValueError without such an actor."""
        if self.heads.latent_actor is None:
            raise ValueError("the policy has no latent actor: set sampler=latent")
        found = self.heads.latent_actor(features)
        value = None if self.heads.value is None else self.heads.value(features[:, None])
        return Score(found.log_prob(noise), found.entropy(), value)

    def _steer(self, encoded: EncodedObservation, noise: Tensor) -> tuple[Tensor, Latent | None]:
        """The noise that is denoised; and how a latent actor decided it, if that actor is trained."""
        actor = self.heads.latent_actor
        if actor is None:
            return noise, None
        latent = actor.draw(torch.cat([encoded.prefix.pooled, encoded.state[:, : self.state_dim]], dim=1), noise)
        return latent.noise.expand_as(noise), latent if self.heads.trains_latent else None

    def value(self, encoded: EncodedObservation, x_t: Tensor, time: Tensor) -> Tensor:
        """The critic's values (B,) at points of the flow, x_t (B, chunk_size, 32) at time (B,), with gradients.

        Raises ValueError without a critic.
        """
        critic = self._critic(encoded)
        if critic is None:
            raise ValueError("the policy has no critic: set add_value_head=true")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.heads.settings.detach_critic_input):
            hidden = branch_flow(self.model, *encoded)(x_t, time).hidden
        assert hidden is not None
        return critic(hidden)

    def _critic(self, encoded: EncodedObservation) -> ValueFn | None:
        """Values of observations, given the expert's output (B, H, width) for them."""
        head, settings = self.heads.value, self.heads.settings
        if head is None or self.heads.trains_latent:  # then the critic reads what the latent actor does
            return None

        def value_of(hidden: Tensor) -> Tensor:
            seen = encoded.prefix.pooled[:, None] if settings.value_after_vlm else hidden
            return head(seen.detach() if settings.detach_critic_input else seen)

        return value_of

    def shard(self, distributed: Distributed) -> None:
        """Shares the weights out over ranks; what is made of `trainable_params` is made afterwards. A collective.

        What stays whole: `Pi0FlowModel.kept_whole`, and heads that are not trained.
        """
        self.sharding = Sharding(distributed)
        if any(parameter.requires_grad for parameter in self.model.parameters()):
            calls = ("flow",) if self.prefix_is_frozen else ("prefix", "flow")
            self.sharding.share_out(self.model, self.model.sharding_units(), calls, self.model.kept_whole())
        for head in self.heads.children():
            if any(parameter.requires_grad for parameter in head.parameters()):
                self.sharding.share_out(head.get_submodule("mlp"))  # a backward pass must find what it gives: a tensor
        self.trainable_params = group_parameters(self.model, self.heads)

    def gathered(self) -> AbstractContextManager[None]:
        """Within the block this rank acts on its own, with the weights as they are when it begins; see `Sharding`."""
        return nullcontext() if self.sharding is None else self.sharding.gathered()

    def save(self, folder: Path) -> None:
        """Writes a policy folder that `pretrained_path` loads again, in the layout that was loaded.

        Sharded weights must be `gathered`. Raises RuntimeError.
        """
        if self.sharding is not None and not self.sharding.is_gathered:
            raise RuntimeError("a sharded policy is saved within `gathered()`, which all ranks enter")
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, self.model, self.card, self._origin)
        stats = folder / self.stats.saved_as
        stats.parent.mkdir(parents=True, exist_ok=True)
        stats.write_text(self.stats.text)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        self.heads.save(folder)

    def merge_lora(self) -> None:
        """Makes the adapters part of the weights: `save` then writes a folder that needs no other."""
        merge_lora(self.model)
        self.card = replace(self.card, lora=None)
        self._prepare_training()

    def _find_card(self, condition_mode: str, random_weights: bool, lora: LoraSettings | None) -> CardSource:
        """The folder's card. Raises ValueError for adapters that it cannot have."""
        if lora is not None and random_weights:
            raise ValueError("lora is not valid with random_weights: an adapter belongs to a folder of weights")
        if lora is not None and self._frozen_vlm and lora.target != "expert":
            raise ValueError(f"lora.target={lora.target!r} is not valid with train_expert_only. Valid: expert")
        if random_weights:
            return CardSource(PolicyCard(condition_mode), dict.fromkeys(KEYS, "new network"))
        found = find_card(self.folder, condition_mode)
        if lora is not None and found.card.lora not in (None, lora):
            raise ValueError(f"{self.folder} holds an adapter with {found.card.lora}, not {lora}; merge it first")
        return found

    def _build(self, random_weights: bool, base_path: str | None) -> tuple[Pi0FlowModel, Origin]:
        if not random_weights:
            return load_model(self.folder, self.card, None if base_path is None else Path(base_path).expanduser())
        logger.info("the small π0 starts from random weights")
        return Pi0FlowModel(small_pi0_config(), self.card.condition_mode), Origin()

    def _prepare_training(self) -> None:
        """Sets what is trainable, then each parameter's precision, then the groups."""
        model = self.model
        if self.card.lora is None:
            model.train_everything()
        if self._frozen_vision or self._frozen_vlm:
            model.model.vlm.vision_tower.requires_grad_(False)
        if self._frozen_vlm:
            model.model.vlm.requires_grad_(False)
        if self._frozen:
            model.requires_grad_(False)
        model.set_precision(self._dtype)
        nn.Module.to(model, self.device)
        self.heads.to(self.device)
        model.eval()
        self.trainable_params = group_parameters(model, self.heads)


def group_parameters(model: Pi0FlowModel, heads: Heads) -> dict[str, list[nn.Parameter]]:
    """`header`: the small projections, the time MLP, the condition embedding and the `noise` sampler's head; `value`:
    the critic, if there is one; `latent`: a latent actor that is trained; `model`: all other trainable ones. None is
    empty."""
    groups: dict[str, list[nn.Parameter]] = {"model": [], "header": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups["header" if name.startswith(HEADER_MODULES) else "model"].append(parameter)
    if heads.log_std is not None:
        groups["header"].extend(heads.log_std.parameters())
    if heads.value is not None:
        groups["value"] = list(heads.value.parameters())
    if heads.latent_actor is not None:
        heads.latent_actor.requires_grad_(heads.trains_latent)
        groups["latent"] = [parameter for parameter in heads.latent_actor.parameters() if parameter.requires_grad]
    return {name: parameters for name, parameters in groups.items() if parameters}

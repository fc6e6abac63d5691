"""The π0 policy: network, tokenizer, statistics and parameter groups."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ript.algos.policies.observations import EncodedObservation, PreparedObservation, prepare_observation
from ript.algos.policies.policy_parts import PolicyParts, PolicySource
from ript.algos.policies.trained_part import TrainedPart, group_parameters
from ript.checks import one_of, whole_number
from ript.distributed import Distributed
from ript.flow.decision import Decision, Latent, Score, ValueFn, decide, score
from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Chain, Ode
from ript.models.pi0.checkpoint import save_model
from ript.models.pi0.conditioning import CONDITION_MODES
from ript.models.pi0.config import Kind
from ript.models.pi0.dims import PADDED_DIM
from ript.models.pi0.guidance import branch_flow, guided_flow
from ript.models.pi0.heads import Heads, HeadSettings
from ript.models.pi0.lora import LoraSettings, merge_lora
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.norm_stats import MODES, Mode, NormStats
from ript.models.pi0.policy_card import PolicyCard
from ript.models.pi0.stats_source import StatsSource
from ript.sharding import Sharding

logger = logging.getLogger(__name__)


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
        whole_number("num_steps", num_steps, 1)
        one_of("condition_mode", condition_mode, CONDITION_MODES)
        one_of("delta_actions", delta_actions, (None, True, False))
        one_of("discrete_state_input", discrete_state_input, (None, True, False))
        one_of("normalization", normalization, (None, *MODES))
        self.device = torch.device("cpu" if device_id is None else f"cuda:{device_id}")
        self.num_steps, self.verbose = num_steps, False
        adapter = None if lora is None else LoraSettings.from_config(lora)
        self._trained = TrainedPart(freeze_vision_encoder, train_expert_only, freeze_policy, dtype, adapter)
        source = PolicySource(
            pretrained_path, base_path, random_weights, norm_stats_path, tokenizer_path, condition_mode, adapter
        )
        usage = {"delta_actions": delta_actions, "discrete_state_input": discrete_state_input}
        parts = self._load(source, {**usage, "cameras": cameras, "normalization": normalization})
        self.folder, self.card, self.stats, self.norm_stats = parts.folder, parts.card, parts.stats, parts.norm_stats
        self.tokenizer, self.model, self._origin = parts.tokenizer, parts.model, parts.origin
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
        return prepare_observation(observation, self.card, self.tokenizer, self.model.architecture, self.device)

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

    def _load(self, source: PolicySource, choices: Mapping[str, Any]) -> PolicyParts:
        return source.load(choices)

    def _prepare_training(self) -> None:
        """Sets what is trainable, then where it is, then the groups."""
        self._trained.choose(self.model, has_adapter=self.card.lora is not None)
        nn.Module.to(self.model, self.device)
        self.heads.to(self.device)
        self.trainable_params = group_parameters(self.model, self.heads)

"""What a policy is made of, loaded from its folder: network, card, statistics, tokenizer."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ript.models.pi0.checkpoint import Origin, load_model, start_lora
from ript.models.pi0.config import small_pi0_config
from ript.models.pi0.folders import find_policy_folder
from ript.models.pi0.lora import LoraSettings
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.norm_stats import NormStats
from ript.models.pi0.policy_card import PolicyCard
from ript.models.pi0.preprocess import check_tokenizer, load_tokenizer
from ript.models.pi0.stats_source import StatsSource, find_stats
from ript.models.pi0.usage import KEYS, CardSource, find_card

logger = logging.getLogger(__name__)

DEFAULT_FOLDER = Path(__file__).parents[2] / "assets" / "small_pi0"
"""The small π0 that ships with the project; its README.md is the model card."""


@dataclass(frozen=True)
class PolicyParts:
    """A policy as its folder has it, with what was chosen where the folder says nothing."""

    folder: Path
    card: PolicyCard
    stats: StatsSource
    norm_stats: NormStats
    tokenizer: Tokenizer
    model: Pi0FlowModel
    origin: Origin
    """Where the weights are from; `save_model` writes them in the same layout."""


@dataclass(frozen=True)
class PolicySource:
    """Where a policy is loaded from. The arguments are those of `PI0_OFT_Policy`.

    Raises ValueError for arguments that exclude each other.
    """

    pretrained_path: str | None = None
    base_path: str | None = None
    random_weights: bool = False
    norm_stats_path: str | None = None
    tokenizer_path: str | None = None
    condition_mode: str = "concat"
    lora: LoraSettings | None = None

    def __post_init__(self) -> None:
        """Checks what no file has to be read for."""
        if self.random_weights and self.pretrained_path is not None:
            raise ValueError("random_weights=True is not valid with pretrained_path: it is for the small π0")
        if self.random_weights and self.lora is not None:
            raise ValueError("lora is not valid with random_weights: an adapter belongs to a folder of weights")

    def load(self, choices: Mapping[str, Any]) -> PolicyParts:
        """The parts, used as `choices` say (see `CardSource.choose`).

        Raises FileNotFoundError or ValueError naming the file, key and valid values.
        """
        folder = DEFAULT_FOLDER if self.pretrained_path is None else find_policy_folder(self.pretrained_path)
        found = self._find_card(folder).choose(**choices)
        card = found.card
        stats = find_stats(folder, _path(self.norm_stats_path))
        norm_stats = NormStats.from_content(stats.path, stats.content, card.normalization, card.state_normalization)
        tokenizer_path = _path(self.tokenizer_path) or folder / "tokenizer.json"
        tokenizer = load_tokenizer(tokenizer_path)
        model, origin = self._load_model(folder, card)
        architecture = model.architecture
        try:
            check_tokenizer(tokenizer, architecture.vocab_size)
        except ValueError as error:
            raise ValueError(f"{tokenizer_path}: {error}") from error
        logger.info("%s: chunk of %d, %s, statistics of %s", folder, architecture.chunk_size, found, stats.path)
        if card.discrete_state_input and architecture.kind == "pi0":
            raise ValueError("discrete_state_input=True is not valid: π0 has a state token; it is for π0.5")
        if self.lora is not None and card.lora is None:
            origin, card = start_lora(folder, model, self.lora, origin), replace(card, lora=self.lora)
        return PolicyParts(folder, card, stats, norm_stats, tokenizer, model, origin)

    def _find_card(self, folder: Path) -> CardSource:
        """The folder's card. Raises ValueError for another adapter than it has."""
        if self.random_weights:
            return CardSource(PolicyCard(self.condition_mode), dict.fromkeys(KEYS, "new network"))
        found = find_card(folder, self.condition_mode)
        if self.lora is not None and found.card.lora not in (None, self.lora):
            raise ValueError(f"{folder} holds an adapter with {found.card.lora}, not {self.lora}; merge it first")
        return found

    def _load_model(self, folder: Path, card: PolicyCard) -> tuple[Pi0FlowModel, Origin]:
        if not self.random_weights:
            return load_model(folder, card, _path(self.base_path))
        logger.info("the small π0 starts from random weights")
        return Pi0FlowModel(small_pi0_config(), card.condition_mode), Origin()


def _path(path: str | None) -> Path | None:
    return Path(path).expanduser() if path else None

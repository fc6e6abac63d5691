"""How a policy folder's weights are used, and whether a file, a tool's default or an option says so."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ript.json_files import read_json
from ript.models.pi0 import lerobot
from ript.models.pi0.folders import ADAPTER_WEIGHTS, CONDITION, CONFIG, POLICY
from ript.models.pi0.layouts import detect_kind
from ript.models.pi0.policy_card import PolicyCard, read_policy_card
from ript.models.pi0.weights_file import WeightsFile

KEYS = ("delta_actions", "cameras", "discrete_state_input", "normalization", "state_normalization", "open_loop")


@dataclass(frozen=True)
class CardSource:
    """A card, and who says what it holds."""

    card: PolicyCard
    said_by: dict[str, str]
    """Key of the card → a file, a tool's default, or `option`."""

    def choose(self, **options: Any) -> "CardSource":
        """With the options that a user has set (those that are not None)."""
        chosen = {key: value for key, value in options.items() if value is not None}
        said_by = self.said_by | dict.fromkeys(chosen, "option")
        if "cameras" in chosen:
            chosen["cameras"] = tuple(chosen["cameras"])
        if "normalization" in chosen:
            chosen["state_normalization"] = None  # one option for both
        return CardSource(replace(self.card, **chosen), said_by)

    def __str__(self) -> str:
        """One line: `delta_actions=True (config.json), …`."""
        values = {key: getattr(self.card, key) for key in KEYS} | {"cameras": "+".join(self.card.cameras)}
        return ", ".join(f"{k}={v} ({self.said_by[k]})" for k, v in values.items() if v is not None)


def find_card(folder: Path, condition_mode: str) -> CardSource:
    """The folder's card; for a folder of another tool, what its files say and its tool assumes.

    Raises FileNotFoundError or ValueError naming the file, the key and what is valid.
    """
    if (folder / POLICY).exists():
        card = read_policy_card(folder)
        if card.condition_mode != condition_mode:
            raise ValueError(
                f"{folder} was trained with condition_mode {card.condition_mode!r}, not {condition_mode!r}"
            )
        return CardSource(card, dict.fromkeys(KEYS, POLICY))
    for name in (CONDITION, ADAPTER_WEIGHTS):
        if (folder / name).exists():
            raise FileNotFoundError(f"file not found: {folder / POLICY}, which must say how to use {name}")
    kind = detect_kind(WeightsFile.open_folder(folder).shapes)
    config: Mapping[str, Any] = read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
    if lerobot.is_lerobot(config):
        said = lerobot.read_usage(folder / CONFIG, config, kind)
        card = PolicyCard(condition_mode, **{key: value for key, (value, _) in said.items()})
        return CardSource(card, {key: source for key, (_, source) in said.items()})
    return CardSource(PolicyCard.for_foreign(kind, condition_mode), dict.fromkeys(KEYS, f"default for openpi's {kind}"))


def find_policy_card(folder: Path, condition_mode: str) -> PolicyCard:
    """The card alone; see `find_card`."""
    return find_card(folder, condition_mode).card

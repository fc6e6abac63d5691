"""The policy that is evaluated, and what identifies it."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from ript.algos.policies.checksums import weights_checksums
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.device import choose_device
from ript.models.pi0.weights_file import sha256
from ript.policy_options import chosen


def load_policy(options: argparse.Namespace) -> PI0_OFT_Policy:
    """The policy of the command line, for inference only. Raises FileNotFoundError or ValueError."""
    policy = PI0_OFT_Policy(
        device_id=choose_device(options.device).index,
        pretrained_path=None if options.policy is None else str(options.policy),
        norm_stats_path=options.norm_stats,
        tokenizer_path=options.tokenizer,
        condition_mode=options.condition_mode,
        **chosen(options),
    )
    policy.model.requires_grad_(False)
    return policy


def identify_policy(policy: PI0_OFT_Policy, options: argparse.Namespace) -> dict[str, Any]:
    """Where the policy is, how it is used, and the SHA-256 of weights, statistics and tokenizer."""
    folder = policy.folder
    tokenizer = Path(options.tokenizer) if options.tokenizer else folder / "tokenizer.json"
    card = policy.card
    return {
        "path": str(folder.resolve()),
        "kind": policy.kind,
        "condition_mode": card.condition_mode,
        "cameras": list(card.cameras),
        "delta_actions": card.delta_actions,
        "normalization": card.normalization,
        "state_normalization": card.state_normalization,
        "discrete_state_input": card.discrete_state_input,
        "sha256": {
            **weights_checksums(policy),
            "norm_stats": _sha256_of_text(policy.stats.text),
            "tokenizer": sha256(tokenizer),
        },
    }


def _sha256_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""What of a policy travels: the trainable weights as arrays. The rest is compared by its hash."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.training.weight_average import copy_tensors

Weights = Mapping[str, list[np.ndarray]]
"""Parameter group → its arrays, float32, in the group's order."""


def trainable_arrays(policy: PI0_OFT_Policy) -> dict[str, list[np.ndarray]]:
    """The trainable weights as they are now. On a CPU the arrays share the weights' memory."""
    groups = policy.trainable_params
    return {name: [parameter.detach().cpu().numpy() for parameter in groups[name]] for name in groups}


def load_arrays(policy: PI0_OFT_Policy, weights: Weights) -> None:
    """Copies the arrays into the policy. Raises ValueError when they are another policy's."""
    if weights.keys() != policy.trainable_params.keys():
        raise ValueError(f"weights of the groups {list(weights)} for a policy with {list(policy.trainable_params)}")
    for name, parameters in policy.trainable_params.items():
        copy_tensors([torch.tensor(array) for array in weights[name]], [p.detach() for p in parameters])


def fingerprint(policy: PI0_OFT_Policy) -> str:
    """SHA-256 (hex) of everything that does not travel: frozen weights and buffers, byte by byte, and the names and
    shapes of the others."""
    digest = hashlib.sha256()
    for prefix, module in (("model", policy.model), ("heads", policy.heads)):
        for name, tensor in _sorted([*module.named_parameters(), *module.named_buffers()]):
            digest.update(f"{prefix}.{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            if not tensor.requires_grad:
                digest.update(_bytes(tensor))
    return digest.hexdigest()


def _sorted(named: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    return sorted(named, key=lambda entry: entry[0])


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data

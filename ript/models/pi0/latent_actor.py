"""The latent actor: which noise the policy denoises (DSRL, arXiv 2506.15799; its Gaussian is squashed, this is not)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.distributions import Normal

from ript.flow.decision import Latent
from ript.models.pi0.dims import PADDED_DIM

LOG_STD_RANGE = (-5.0, 1.0)
"""Of the noise; 0 is the noise that the policy was trained with."""


class LatentActor(nn.Module):
    """An MLP with ReLU from features to N(μ, σ) of the initial noise. It starts as N(0, 1), whatever it sees.

    Args:
        width: of the features.
        rows: of the noise that are decided: 1 is repeated over the horizon, H are all of it.
        hidden: widths of the hidden layers.
    """

    def __init__(self, width: int, rows: int, hidden: Sequence[int] = (512, 256, 128)):
        super().__init__()
        self.width, self.rows = width, rows
        last = nn.Linear(hidden[-1], 2 * rows * PADDED_DIM)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        layers = [layer for pair in pairwise([width, *hidden]) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.mlp = nn.Sequential(*layers, last)

    @classmethod
    def of_sizes(cls, tensors: Mapping[str, Tensor]) -> "LatentActor":
        """An actor of the sizes that a saved one has, with new weights. Raises IndexError or ValueError for tensors
        of another module."""
        shapes = [tuple(tensors[name].shape) for name in sorted(tensors, key=_layer) if name.endswith(".weight")]
        rows, left = divmod(shapes[-1][0], 2 * PADDED_DIM)
        if left or not rows:
            raise ValueError(f"the last layer gives {shapes[-1][0]} numbers, not a multiple of {2 * PADDED_DIM}")
        return cls(shapes[0][1], rows, [shape[0] for shape in shapes[:-1]])

    def forward(self, features: Tensor) -> Normal:
        """Features (B, width) → the distribution of the noise (B, rows, 32)."""
        mean, log_std = self.mlp(features).unflatten(1, (2, self.rows, PADDED_DIM)).unbind(dim=1)
        return Normal(mean, log_std.clamp(*LOG_STD_RANGE).exp(), validate_args=False)

    def draw(self, features: Tensor, noise: Tensor) -> Latent:
        """A draw of the distribution, by standard normal noise (B, H, 32), of which it takes the first `rows`."""
        found = self(features)
        latent = found.mean + found.stddev * noise[:, : self.rows]
        return Latent(features, latent, found.log_prob(latent))


def _layer(name: str) -> int:
    return int(name.split(".")[1])

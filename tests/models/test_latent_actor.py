"""The latent actor by itself: sizes, start, draws and log-probabilities."""

import math

import pytest
import torch
from torch import nn

from ript.models.pi0.heads import Heads, HeadSettings
from ript.models.pi0.latent_actor import LatentActor


def moved(rows: int = 1, width: int = 6) -> LatentActor:
    """One that has learned something."""
    torch.manual_seed(0)
    actor = LatentActor(width, rows, (8, 8))
    nn.init.normal_(actor.mlp[-1].weight, std=0.1)
    return actor


def test_it_is_an_mlp_of_the_published_sizes_that_starts_as_the_noise_it_replaces() -> None:
    actor = LatentActor(2056, 1)
    sizes = [(layer.in_features, layer.out_features) for layer in actor.mlp if isinstance(layer, nn.Linear)]
    assert sizes == [(2056, 512), (512, 256), (256, 128), (128, 64)]
    noise, features = torch.randn(3, 50, 32), 10 * torch.randn(3, 2056)
    assert torch.equal(actor.draw(features, noise).noise, noise[:, :1])
    whole = LatentActor(2056, 50)
    assert torch.equal(whole.draw(features, noise).noise, noise)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_draw_and_its_log_probability_are_a_gaussians(rows: int) -> None:
    actor, features, noise = moved(rows), torch.randn(4, 6), torch.randn(4, 5, 32)
    mean, log_std = actor.mlp(features).reshape(4, 2, rows, 32).unbind(dim=1)
    latent = actor.draw(features, noise)
    torch.testing.assert_close(latent.noise, mean + log_std.exp() * noise[:, :rows])
    z = (latent.noise - mean) / log_std.exp()
    torch.testing.assert_close(latent.log_prob, -0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi))
    assert latent.features is features


def test_the_standard_deviation_stays_within_its_range() -> None:
    for bias, std in ((-100.0, math.exp(-5)), (100.0, math.exp(1))):
        actor = LatentActor(6, 1, (8,))
        nn.init.constant_(actor.mlp[-1].bias, bias)
        torch.testing.assert_close(actor(torch.randn(1, 6)).stddev, torch.full((1, 1, 32), std))


@pytest.mark.parametrize("rows", [1, 5])
def test_an_actor_is_rebuilt_from_the_shapes_of_its_file(rows: int) -> None:
    actor = moved(rows)
    again = LatentActor.of_sizes(actor.state_dict())
    again.load_state_dict(actor.state_dict())
    assert (again.width, again.rows) == (6, rows)
    features, noise = torch.randn(2, 6), torch.randn(2, 5, 32)
    assert torch.equal(again.draw(features, noise).noise, actor.draw(features, noise).noise)


def test_the_width_of_what_it_reads_is_derived_or_checked() -> None:
    for given in (None, 40):
        heads = Heads(HeadSettings(sampler="latent", add_value_head=True, dsrl_state_dim=given), 16, 32, 50, 8)
        assert heads.latent_actor is not None and heads.latent_actor.width == 40
        assert heads.value is not None and heads.value.mlp[0].in_features == 40
    with pytest.raises(ValueError, match="dsrl_state_dim=8 is not valid: this model's is 40, 32 of the prefix and 8"):
        Heads(HeadSettings(sampler="latent", dsrl_state_dim=8), 16, 32, 50, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dsrl_hidden_dims": []}, "dsrl_hidden_dims"),
        ({"dsrl_hidden_dims": [0]}, "dsrl_hidden_dims=0"),
        ({"latent_repeat": "yes"}, "latent_repeat='yes'"),
        ({"value_after_vlm": True, "add_value_head": True}, "value_after_vlm"),
        ({"detach_critic_input": False}, "detach_critic_input"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadSettings(sampler="latent", **options)  # type: ignore[arg-type]

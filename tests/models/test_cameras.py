"""A camera that a policy does not look through is masked: the same numbers, whatever its image would show."""

import json
from pathlib import Path

import numpy as np
import planar
import pytest
import torch
from torch import Tensor

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.pi0_io import collate_observations
from ript.models.pi0.modeling import Pi0FlowModel, Prefix, masked_mean
from ript.storage.prefix_store import PrefixStore, encode_windows
from ript.storage.windows import Window

ONE = ["base_0_rgb"]


@pytest.fixture
def one_eyed(tiny_policy_folder: Path) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), cameras=ONE, train_expert_only=True)


def observation(seed: int, wrist: np.ndarray | None = None, prompt: str = "reach the top") -> dict[str, object]:
    rng = np.random.default_rng(seed)
    size = planar.IMAGE_SIZE
    images = {"base_0_rgb": rng.integers(0, 256, (size, size, 3), np.uint8)}
    images |= {} if wrist is None else {"left_wrist_0_rgb": wrist}
    return {"image": images, "state": rng.normal(size=8).astype(np.float32), "prompt": prompt}


def masked_prefix(model: Pi0FlowModel, images: Tensor, tokens: Tensor, token_mask: Tensor) -> Prefix:
    """Openpi's way: both images (B, 2, 3, S, S) are encoded, and attention does not see the second one's tokens."""
    batch, cameras = images.shape[:2]
    sizes = model.architecture.vision
    each = (sizes.image_size // sizes.patch_size) ** 2
    placeholder = tokens.new_full((batch, cameras * each), model.architecture.image_token_id)
    visible = torch.cat([torch.ones(batch, each), torch.zeros(batch, each), token_mask], dim=1).long()
    present = torch.ones(batch, cameras, dtype=torch.bool)
    embeds = model.model.embed_prefix(torch.cat([placeholder, tokens], dim=1), images, present)
    read = model.model.vlm(
        inputs_embeds=embeds,
        attention_mask=visible,
        position_ids=visible.cumsum(-1) - 1,
        token_type_ids=torch.zeros_like(visible),
        use_cache=True,
    )
    pooled = masked_mean(read.last_hidden_state, visible)
    return Prefix(tuple((layer.keys, layer.values) for layer in read.past_key_values.layers), visible, pooled)


@torch.no_grad()
def test_left_out_is_masked_in_attention_whatever_the_image_would_show(one_eyed: PI0_OFT_Policy) -> None:
    batch = collate_observations([observation(0), observation(1, prompt="reach the right, slowly")])
    prepared = one_eyed.prepare(batch)
    assert prepared.images.shape[1] == 1
    encoded = one_eyed.encode(batch)
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, one_eyed.chunk_size, 32, generator=generator)
    rest = (prepared.state, x_t, torch.tensor([0.3, 0.9]), torch.ones(2, dtype=torch.long))
    expected = one_eyed.model.velocity(encoded.prefix, *rest)
    for fill in (-1.0, 0.7):
        both = torch.cat([prepared.images, torch.full_like(prepared.images, fill)], dim=1)
        masked = masked_prefix(one_eyed.model, both, prepared.tokens, prepared.token_mask)
        torch.testing.assert_close(one_eyed.model.velocity(masked, *rest), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(masked.pooled, encoded.prefix.pooled, atol=1e-5, rtol=1e-5)


def test_actions_and_kept_prefixes_do_not_depend_on_an_image_that_is_masked(one_eyed: PI0_OFT_Policy) -> None:
    shape = (planar.IMAGE_SIZE, planar.IMAGE_SIZE, 3)
    noise = torch.randn(1, one_eyed.chunk_size, 32, generator=torch.Generator().manual_seed(0))
    actions, prefixes = [], []
    for wrist in (None, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)):
        seen = observation(0, wrist)
        actions.append(one_eyed.select_action(collate_observations([seen]), noise=noise))
        labels = np.zeros((one_eyed.chunk_size, 7), np.float32)
        window = Window(seen, labels, np.zeros(one_eyed.chunk_size, bool), 1.0, episode_id=0, start=0)
        store = PrefixStore(one_eyed)
        prefixes += [store.encode([window]).prefix for _ in range(2)]
        prefixes.append(encode_windows(one_eyed, [window]).prefix)
    assert all(torch.equal(other, actions[0]) for other in actions)
    assert all(torch.equal(other.keys_values[0][0], prefixes[0].keys_values[0][0]) for other in prefixes)


def test_a_policy_that_looks_through_both_refuses_an_observation_of_one(tiny_policy: PI0_OFT_Policy) -> None:
    with pytest.raises(KeyError, match="left_wrist_0_rgb"):
        tiny_policy.encode(collate_observations([observation(0)]))


def test_cameras_are_saved_with_the_policy_and_earlier_cards_look_through_both(
    one_eyed: PI0_OFT_Policy, tmp_path: Path
) -> None:
    one_eyed.save(tmp_path)
    assert PI0_OFT_Policy(pretrained_path=str(tmp_path)).card.cameras == ("base_0_rgb",)
    card = json.loads((tmp_path / "policy.json").read_text())
    del card["cameras"]
    (tmp_path / "policy.json").write_text(json.dumps(card))
    assert PI0_OFT_Policy(pretrained_path=str(tmp_path)).card.cameras == ("base_0_rgb", "left_wrist_0_rgb")


@pytest.mark.parametrize("cameras", [[], ["wrist"], ["left_wrist_0_rgb", "base_0_rgb"]])
def test_cameras_that_there_are_not_are_refused(tiny_policy_folder: Path, cameras: list[str]) -> None:
    with pytest.raises(ValueError, match=r"cameras=.*is not valid: one or more, in this order: base_0_rgb, left"):
        PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), cameras=cameras)

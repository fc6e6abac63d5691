"""Sizes of the π0 network."""

from transformers import PI0Config


def small_pi0_config(
    image_size: int = 96,
    patch_size: int = 16,
    width: int = 128,
    depth: int = 4,
    vision_depth: int = 3,
    vocab_size: int = 512,
    chunk_size: int = 50,
) -> PI0Config:
    """A π0 of about 1.7 M parameters that trains on a laptop CPU.

    The same architecture as the 3.5 B model, narrower and shallower: SigLIP vision tower, Gemma prefix, Gemma
    action expert. Action and state vectors keep their padded width of 32, so that shapes are those of π0.
    """
    gemma = {
        "model_type": "gemma",
        "hidden_size": width,
        "num_hidden_layers": depth,
        "intermediate_size": 2 * width,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": width // 4,
        "vocab_size": vocab_size,
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": vision_depth,
        "num_attention_heads": 4,
        "patch_size": patch_size,
        "image_size": image_size,
        "vision_use_head": False,
    }
    vlm = {
        "model_type": "paligemma",
        "text_config": gemma,
        "vision_config": vision,
        "projection_dim": width,
        "image_token_id": vocab_size,  # outside the text vocabulary, as in PaliGemma
    }
    return PI0Config(vlm_config=vlm, dit_config=dict(gemma), chunk_size=chunk_size)

"""What identifies the weights that a policy acts with."""

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.models.pi0.folders import LATENT_ACTOR, WEIGHTS
from ript.models.pi0.weights_file import WeightsFile, sha256


def weights_checksums(policy: PI0_OFT_Policy) -> dict[str, str]:
    """File → SHA-256.

    They are those that the folder records and that were checked at loading; a folder of another tool records none, and
    its file is hashed.
    """
    folder, card = policy.folder, policy.card
    found = dict(card.sha256) or {WEIGHTS: WeightsFile.open_folder(folder).sha256}
    if policy.heads.latent_actor is not None:
        found[LATENT_ACTOR] = sha256(folder / LATENT_ACTOR)
    if card.base is not None:
        found["base"] = card.base.sha256
    return found

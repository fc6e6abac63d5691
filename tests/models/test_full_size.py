"""The 3.5 B networks, built without memory, against the tensor lists of the public checkpoints."""

import json
import math
import re
from typing import Any

import pytest
import torch
from golden_folders import GOLDENS, KINDS

from ript.models.pi0.config import Kind, public_architecture
from ript.models.pi0.layouts import OPENPI, TEXT_EMBEDDING, detect_kind, detect_layout
from ript.models.pi0.modeling import Pi0FlowModel


def public_list(kind: Kind) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The list's header, and its shapes with `{n}` written out as 0 to n-1."""
    content = json.loads((GOLDENS / f"{kind}_base_keys.json").read_text())
    shapes = {}
    for pattern, shape in content.pop("shapes").items():
        count = re.search(r"\{(\d+)\}", pattern)
        for i in range(int(count[1]) if count else 1):
            shapes[pattern.replace(count[0], str(i)) if count else pattern] = shape
    return content, shapes


@pytest.mark.parametrize("kind", KINDS)
def test_the_list_agrees_with_what_is_published(kind: Kind) -> None:
    header, shapes = public_list(kind)
    assert len(shapes) == header["tensors_in_file"]
    total = sum(map(math.prod, shapes.values())) + math.prod(shapes[OPENPI.rename(TEXT_EMBEDDING)])
    assert total == header["parameters_in_lerobot"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_size_network_has_exactly_the_public_tensors(kind: Kind) -> None:
    _, shapes = public_list(kind)
    assert detect_kind(shapes) == kind
    layout = detect_layout(shapes)
    with torch.device("meta"):
        model = Pi0FlowModel(public_architecture(kind))
    ours = {name: list(x.shape) for name, x in model.state_dict().items() if not name.startswith("condition.")}
    assert {layout.rename(name): shape for name, shape in ours.items()} == shapes

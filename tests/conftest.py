"""Shared by all tests: one torch thread, one tiny policy and one set of ranks per session."""

from collections.abc import Iterator
from pathlib import Path

import planar
import pytest
import ranks
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _ranks_end_with_the_session() -> Iterator[None]:
    yield
    ranks.close_ranks()


@pytest.fixture(scope="session")
def tiny_policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return planar.write_tiny_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def tiny_policy(tiny_policy_folder: Path) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder))

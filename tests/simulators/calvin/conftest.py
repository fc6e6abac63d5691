from collections.abc import Iterator
from typing import Any

import pytest
import table

from ript.simulators.calvin import scene
from ript.simulators.calvin.env import CalvinEnv


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> table.StandIn:
    """What `CalvinEnv` gets in place of CALVIN."""
    made = table.StandIn()
    monkeypatch.setattr(scene, "make_env", lambda use_egl: made)
    monkeypatch.setattr(scene, "make_oracle", table.StandInOracle)
    return made


@pytest.fixture(scope="session")
def real() -> Iterator[Any]:
    """The real one with images: a process can have one, so all tests use it further."""
    env = CalvinEnv(table.SUITE, 0)
    yield env
    env.close()

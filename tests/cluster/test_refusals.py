import sys
from pathlib import Path

import pytest
from planar_run import SFT, planar_config

from ript.training.loop import InputError, run

SIMULATORS = ("cluster.address=local", "cluster.placement=simulators")


def test_without_ray_an_address_is_refused_with_the_name_of_the_extra(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == "ray" or name.startswith(("ray.", "ript.cluster."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError,
        match=r"cluster.address needs Ray: python -m pip install -c scripts/constraints.txt -e '.\[cluster\]'",
    ):
        run(planar_config(tmp_path / "run", tiny_policy_folder, "cluster.address=local"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("cluster.staleness=1",), "cluster.staleness"),
        (("cluster.placement=simulators",), "cluster.placement=simulators is not valid with cluster.address=null"),
        (("cluster.placement=rollout",), "cluster.placement='rollout' is not valid.*rollouts, simulators"),
        ((*SIMULATORS, "cluster.staleness=1"), "cluster.staleness=1 is not valid"),
        (
            (*SIMULATORS, "cluster.num_workers=2"),
            "cluster.num_workers=2 is not valid with cluster.placement",
        ),
        (("cluster.address=local", *SFT), "cluster.address is not valid with an algorithm that has no rollouts"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, tiny_policy_folder: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *overrides))

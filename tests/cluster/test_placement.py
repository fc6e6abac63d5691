import pytest

pytest.importorskip("ray", reason="needs Ray: python -m pip install -c scripts/constraints.txt -e '.[cluster]'")
from ript.cluster.placement import check_placement, join

NODES = [{"CPU": 8.0, "GPU": 1.0, "memory": 1e9, "node:10.0.0.1": 1.0}, {"CPU": 3.0}]


@pytest.mark.parametrize(
    ("asked", "workers"), [({"CPU": 2}, 5), ({"CPU": 3, "GPU": 0.5}, 2), ({"GPU": 0.1}, 10), ({"CPU": 8}, 1)]
)
def test_workers_that_fit_are_let_through(asked: dict[str, float], workers: int) -> None:
    check_placement(asked, workers, NODES, "cluster.num_workers", "rollout workers")


@pytest.mark.parametrize(
    ("asked", "workers", "fitting"),
    [({"CPU": 2}, 6, 5), ({"CPU": 9}, 1, 0), ({"CPU": 1, "GPU": 1}, 2, 1), ({"simulators": 1}, 1, 0)],
)
def test_workers_that_do_not_fit_are_refused_in_one_line_with_what_there_is(
    asked: dict[str, float], workers: int, fitting: int
) -> None:
    with pytest.raises(ValueError, match=f"{workers} rollout workers .* {fitting} of them fit") as refused:
        check_placement(asked, workers, NODES, "cluster.num_workers", "rollout workers")
    message = str(refused.value)
    assert "2 node(s) have CPU 8, GPU 1; CPU 3;" in message and "\n" not in message and "memory" not in message


def test_the_client_of_another_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cluster\.address=ray://head:10001 is not valid"):
        join("ray://head:10001", world_size=1)

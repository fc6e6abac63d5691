"""The flow loss of demonstrations that a policy was not trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.export_lerobot import export
from ript.demonstrations.export_lerobot import parse_arguments as export_arguments
from ript.demonstrations.reader import Demonstrations
from ript.evaluation.demonstration_loss import (
    losses_by_demonstration,
    main,
    mean_interval,
    measure,
    parse_arguments,
    sources,
    table,
)
from ript.models.pi0.dims import PADDED_DIM
from ript.seeds import Word, entropy, torch_generator


def windows(path: Path, policy: PI0_OFT_Policy) -> DemonstrationWindows:
    """Those of a file, as the policy needs them."""
    return DemonstrationWindows([Demonstrations(path)], policy.norm_stats, policy.chunk_size)


def noise_of(number: int, start: int, horizon: int) -> np.ndarray:
    """(H, 32) of a window, with the seed 0."""
    generator = torch_generator(entropy(Word.WINDOW, 0, 0, 0, 0, number, start, 0))
    return torch.randn(horizon, PADDED_DIM, generator=generator).numpy()


def test_a_policy_that_does_not_move_has_the_mean_square_of_noise_minus_action(
    official_file: Path, tiny_policy: PI0_OFT_Policy
) -> None:
    torch.nn.init.zeros_(tiny_policy.model.action_out_proj.weight)
    torch.nn.init.zeros_(tiny_policy.model.action_out_proj.bias)
    dataset = windows(official_file, tiny_policy)
    expected: dict[int, list[float]] = {}
    for window in (dataset[i] for i in range(len(dataset))):
        valid = ~window.action_is_pad
        target = noise_of(window.episode_id, window.start, len(valid))[valid, :7] - window.actions[valid]
        expected.setdefault(window.episode_id, []).append(float(np.square(target).mean()))
    found = losses_by_demonstration(tiny_policy, dataset, len(dataset))
    assert found == pytest.approx({number: np.mean(of_one) for number, of_one in expected.items()}, rel=1e-5)


def test_two_policies_see_the_same_windows_with_the_same_noise(official_file: Path, tiny_policy_folder: Path) -> None:
    twice = ["--data", str(official_file), "--policy", str(tiny_policy_folder), str(tiny_policy_folder)]
    *_, last = measure(parse_arguments([*twice, "--windows", "9"])).splitlines()
    assert last.endswith("| +0.0000 | +0.0000 to +0.0000 |")
    other_seed = measure(parse_arguments([*twice, "--windows", "9", "--seed", "1"])).splitlines()[-1]
    assert other_seed != last


def test_policies_are_compared_demonstration_by_demonstration() -> None:
    """Student's t by hand: of 1, 2, 3 the half-width is 4.303 · 1 / √3; of a constant difference it is 0."""
    first = np.array([1.0, 2.0, 3.0])
    assert mean_interval(first) == pytest.approx((2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    row = table([("first", first), ("other", first + 0.1)]).splitlines()[-1]
    assert row == "| other | 3 | 2.1000 | -0.3841 to 4.5841 | +0.1000 | +0.1000 to +0.1000 |"


def test_a_lerobot_dataset_gives_the_losses_of_its_hdf5_file(
    official_file: Path, tmp_path: Path, tiny_policy: PI0_OFT_Policy
) -> None:
    export(export_arguments(["--data", str(official_file), "--out", str(tmp_path / "lerobot")]))
    found = [
        losses_by_demonstration(
            tiny_policy, DemonstrationWindows(sources([path]), tiny_policy.norm_stats, tiny_policy.chunk_size), 8
        )
        for path in (official_file, tmp_path / "lerobot")
    ]
    assert found[0] == found[1]
    assert sum(len(source) for source in sources([official_file, tmp_path / "lerobot"])) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--data", "no_such"], "no_such"), (["--data", "x", "--windows", "0"], "windows=0")],
)
def test_bad_input_ends_with_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error
    assert error.count("\n") == 1

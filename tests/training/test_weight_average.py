import pytest
import torch

from ript.training.weight_average import WeightAverage


def test_the_average_is_its_recursion_with_a_warm_up() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    average = WeightAverage([parameter], decay=0.5, warm_up=True)
    expected = torch.zeros(2, dtype=torch.float64)
    for step in range(20):
        torch.nn.init.constant_(parameter, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.average[0], expected)


def test_without_warm_up_a_good_start_is_forgotten_slowly() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    average = WeightAverage([parameter], decay=0.9, warm_up=False)
    torch.nn.init.constant_(parameter, 1.0)
    for step in range(1, 4):
        average.update()
        assert average.average[0].item() == pytest.approx(1 - 0.9**step)


def test_parameters_hold_the_average_within_the_block_only_even_after_an_error() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    average = WeightAverage([parameter], decay=0.9, warm_up=False)
    torch.nn.init.constant_(parameter, 5.0)
    with pytest.raises(RuntimeError), average.applied():
        assert parameter.item() == 1.0
        raise RuntimeError
    assert parameter.item() == 5.0 and average.average[0].item() == 1.0


def test_a_saved_average_goes_on_with_the_parameters_it_had() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    average = WeightAverage([parameter], decay=0.9, warm_up=False)
    torch.nn.init.constant_(parameter, 5.0)
    average.update()
    state = average.state_dict()
    fresh = torch.nn.Parameter(torch.zeros(1))
    again = WeightAverage([fresh], decay=0.9, warm_up=False)
    again.load_state_dict(state)
    assert fresh.item() == 5.0 and again.average[0].item() == average.average[0].item() and again.steps == 1


def test_a_state_is_a_copy_and_the_same_within_the_block_and_outside() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    average = WeightAverage([parameter], decay=0.9, warm_up=False)
    torch.nn.init.constant_(parameter, 5.0)
    before = average.state_dict()
    with average.applied(), average.applied():
        within = average.state_dict()
        assert parameter.item() == 1.0
    for state in (before, within):
        assert state["average"][0].item() == 1.0 and state["raw"][0].item() == 5.0

from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import planar
import pytest

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.episode import Episode
from ript.env_runner.pi0_libero_runner import Pi0LiberoRunner
from ript.env_vars import EnvSettings, read_env_settings
from ript.simulators.libero.benchmark import SUITE_MAX_STEPS

TASK = planar.TASKS[0]
BOWL = "pick_up_the_black_bowl_between_the_plate_and_the_ramekin_and_place_it_on_the_plate"


def episodes_of(policy: PI0_OFT_Policy, count: int = 5, **options: Any) -> list[Episode]:
    runner = planar.planar_runner(rollouts_per_env=count, **options)
    return [episode for _, _, episode in runner.run_policy_in_env(TASK, policy)]


@pytest.fixture
def calls(tiny_policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every inference."""
    recorded: list[dict[str, Any]] = []
    act = tiny_policy.act

    def recording(observation: Any, **kwargs: Any) -> Any:
        recorded.append({"batch": len(observation["prompt"]), **kwargs})
        return act(observation, **kwargs)

    monkeypatch.setattr(tiny_policy, "act", recording)
    return recorded


def test_there_is_one_batched_inference_per_50_steps(tiny_policy: PI0_OFT_Policy, calls: list[dict[str, Any]]) -> None:
    episodes = episodes_of(tiny_policy, 4, num_parallel_envs=4, max_episode_length=150, settings=EnvSettings())
    assert calls[0]["batch"] == 4
    assert len(calls) == max(len(e.executed) for e in episodes)
    for episode in episodes:
        assert (episode.executed[:-1] == 50).all()
        assert episode.executed.sum() == episode.length == len(episode.rewards)


def test_the_same_simulators_load_one_task_after_the_other_and_end_when_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = planar.planar_runner(num_parallel_envs=2)
    pool, *_ = runner.create_env(planar.TASKS[0])
    assert runner.create_env(planar.TASKS[1]) == (pool, 1, 2)
    assert all((env.target == planar.TARGETS[1]).all() for env in pool.envs)
    closed: list[bool] = []
    monkeypatch.setattr(pool, "close", lambda: closed.append(True))
    monkeypatch.setattr(pool.envs[1], "load_task", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner.create_env(planar.TASKS[0])
    assert closed and runner.create_env(planar.TASKS[0])[0] is not pool


def test_fast_images_are_for_rollouts_to_learn_from_and_evaluations_see_exact_ones(
    tiny_policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = planar.planar_runner(num_parallel_envs=1, rollouts_per_env=1, render="fast")
    made: list[str] = []
    make = runner.simulator.make_vec_env
    monkeypatch.setattr(runner.simulator, "make_vec_env", lambda *args: made.append(args[3]) or make(*args))
    task = runner.task_names[0]
    for _ in range(2):
        list(runner.run_policy_in_env(task, tiny_policy, all_init_states=[None], created_env=runner.create_env(task)))
    list(runner.play_evaluation(task, tiny_policy, [0]))
    list(runner.run_policy_in_env(task, tiny_policy))
    runner.create_env(task)
    assert made == ["fast", "exact", "fast"]
    with pytest.raises(ValueError, match=r"render='quick' is not valid.*exact, fast"):
        planar.planar_runner(render="quick")


def test_simulators_that_ended_are_replaced_by_whoever_asks_next() -> None:
    runner = planar.planar_runner(num_parallel_envs=1)
    pool, *_ = runner.create_env(planar.TASKS[0])
    assert runner.create_env(planar.TASKS[0])[0] is pool
    pool.is_closed = True  # as after the death of a worker
    assert runner.create_env(planar.TASKS[0])[0] is not pool


def test_each_rollout_has_its_own_episode(tiny_policy: PI0_OFT_Policy) -> None:
    episodes = episodes_of(tiny_policy, 5, num_parallel_envs=2)
    assert len({id(e) for e in episodes}) == 5
    assert len({e.actions.tobytes() for e in episodes}) == 5
    assert len({e.init_hash for e in episodes}) == 5


def test_rollouts_do_not_depend_on_how_many_run_beside_them(tiny_policy: PI0_OFT_Policy) -> None:
    one, three = (episodes_of(tiny_policy, 5, num_parallel_envs=n) for n in (1, 3))
    for a, b in zip(one, three, strict=True):
        assert a.init_hash == b.init_hash and a.success == b.success
        np.testing.assert_allclose(a.actions, b.actions, atol=1e-5)


def test_the_same_seed_gives_identical_episodes_and_another_seed_does_not(tiny_policy: PI0_OFT_Policy) -> None:
    first, again, other = (episodes_of(tiny_policy, 3, seed=seed) for seed in (0, 0, 1))
    assert [e.actions.tobytes() for e in first] == [e.actions.tobytes() for e in again]
    assert [e.actions.tobytes() for e in first] != [e.actions.tobytes() for e in other]


def test_an_episode_stops_at_success_and_records_that_chunk(tiny_policy: PI0_OFT_Policy) -> None:
    solved = [e for e in episodes_of(tiny_policy, 60, num_parallel_envs=20) if e.success]
    assert solved, "no rollout of sixty reached the target"
    for episode in solved:
        assert episode.rewards[-1] == 1 and not episode.rewards[:-1].any()
        assert len(episode.actions_normalized) == len(episode.executed)


def test_a_given_episode_length_is_never_overwritten(tiny_policy: PI0_OFT_Policy) -> None:
    assert max(e.length for e in episodes_of(tiny_policy, 4, max_episode_length=7)) == 7
    for suite, steps in SUITE_MAX_STEPS.items():
        assert Pi0LiberoRunner(suite).max_episode_length == steps
        assert Pi0LiberoRunner(suite, max_episode_length=33).max_episode_length == 33


def test_actions_are_the_policys_chunks_un_normalised(tiny_policy: PI0_OFT_Policy) -> None:
    for episode in episodes_of(tiny_policy, 3, max_episode_length=70):
        played = [chunk[:n] for chunk, n in zip(episode.actions_normalized, episode.executed, strict=True)]
        expected = tiny_policy.norm_stats.actions.unnormalize(np.concatenate(played))
        np.testing.assert_allclose(episode.actions, expected)


def test_observations_are_recorded_where_windows_start(tiny_policy: PI0_OFT_Policy) -> None:
    (episode,) = episodes_of(tiny_policy, 1, window_stride=10, max_episode_length=35)
    assert sorted(episode.observations) == sorted(episode.states) == [s for s in (0, 10, 20, 30) if s < episode.length]


@pytest.mark.parametrize(
    ("environ", "scale", "branch"),
    [
        ({}, 3.0, None),
        ({"PI0_CFG_SCALE": "1.5"}, 1.5, None),
        ({"PI0_ENABLE_DUAL": "0"}, 1.0, None),
        ({"PI0_ENABLE_DUAL": "0", "PI0_CFG_SCALE": "2"}, 1.0, None),
        ({"PI0_IS_POSITIVE": "0"}, 1.0, 0),
    ],
)
def test_guidance_follows_the_environment(
    tiny_policy: PI0_OFT_Policy,
    calls: list[dict[str, Any]],
    environ: dict[str, str],
    scale: float,
    branch: int | None,
) -> None:
    episodes_of(tiny_policy, 2, cfg_scale=3.0, settings=read_env_settings(environ))
    assert {(call["cfg_scale"], call["is_positive"]) for call in calls} == {(scale, branch)}


def test_initial_states_can_be_disabled(tiny_policy: PI0_OFT_Policy) -> None:
    evaluation = planar.PlanarBenchmark().get_task_init_states(0)
    with_states = {e.states[0][:2].tobytes() for e in episodes_of(tiny_policy, 5)}
    assert with_states == {state.tobytes() for state in evaluation[:5]}
    settings = read_env_settings({"PI0_DISABLE_INIT_STATES": "1"})
    without = {e.states[0][:2].tobytes() for e in episodes_of(tiny_policy, 5, settings=settings)}
    assert not with_states & without


def test_verbose_logs_inference_time_and_shape(tiny_policy: PI0_OFT_Policy, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        episodes_of(tiny_policy, 2, settings=read_env_settings({"PI0_VERBOSE": "1"}))
    assert "inference" in caplog.text and "(2, 50, 7)" in caplog.text


def test_evaluation_rollouts_start_where_their_index_says(tiny_policy: PI0_OFT_Policy) -> None:
    indices = [7, 3, 40, 11, 5]
    runner = planar.planar_runner(num_parallel_envs=2, seed=3)
    played = dict(runner.play_evaluation(TASK, tiny_policy, indices))
    assert sorted(played) == sorted(indices)
    states = planar.PlanarBenchmark().get_task_init_states(0)
    for index, episode in played.items():
        assert runner.evaluation_scene(0, index) == (3 + index, index % len(states))
        np.testing.assert_array_equal(episode.states[0][:2], states[index % len(states)])
        assert episode.seconds > 0


def test_evaluation_rollouts_are_yielded_as_they_end(tiny_policy: PI0_OFT_Policy) -> None:
    runner = planar.planar_runner(open_loop=10, num_parallel_envs=20)
    played = list(runner.play_evaluation(TASK, tiny_policy, range(60)))
    order = [index for index, _ in played]
    assert len({episode.length for _, episode in played}) > 1, "all rollouts are of the same length"
    assert order != sorted(order) and sorted(order) == list(range(60))


def test_ranks_evaluate_every_state_once_between_them(tiny_policy: PI0_OFT_Policy) -> None:
    runner = planar.planar_runner(rollouts_per_env=7)
    whole = runner.evaluate(tiny_policy)
    parts = [runner.evaluate(tiny_policy, rank=rank, world_size=3) for rank in range(3)]
    for name, tally in whole.items():
        assert sum(part[name].n for part in parts) == tally.n == 7
        assert sum(part[name].k for part in parts) == tally.k


def test_more_ranks_than_rollouts_is_fine(tiny_policy: PI0_OFT_Policy) -> None:
    tallies = planar.planar_runner(rollouts_per_env=1).evaluate(tiny_policy, rank=1, world_size=2)
    assert all(tally.n == 0 for tally in tallies.values())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("benchmark_name", "libero_spatiall"),
        ("task_names_to_use", ["pick_up_the_bowl"]),
        ("max_episode_length", -1),
        ("num_steps_wait", -5),
        ("num_parallel_envs", 0),
        ("rollouts_per_env", 0),
        ("window_stride", -7),
        ("cfg_scale", -1.0),
    ],
)
def test_bad_arguments_are_refused_by_value(option: str, value: Any) -> None:
    shown = value[0] if isinstance(value, list) else value
    with pytest.raises(ValueError, match=str(shown)):
        Pi0LiberoRunner(**{option: value})


@pytest.mark.parametrize("options", [{"window_stride": 7}, {"open_loop": 51}, {"open_loop": 20, "window_stride": 50}])
def test_open_loop_and_stride_that_do_not_go_with_the_policy_are_refused(
    tiny_policy: PI0_OFT_Policy, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        planar.planar_runner(**options).check_policy(tiny_policy)


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_open_loop_follows_the_policys_chunk_size(tmp_path: Path, kind: str) -> None:
    policy = planar.tiny_policy(tmp_path, chunk_size=10, kind=kind)
    (episode,) = episodes_of(policy, 1, max_episode_length=35)
    assert episode.actions_normalized.shape[1] == 10
    assert set(episode.executed[:-1]) <= {10}
    assert sorted(episode.observations) == [s for s in (0, 10, 20, 30) if s < episode.length]


def test_on_libero_the_settings_reach_the_simulator(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    """Real physics and images: episode length, waiting, initial states, videos."""
    environ = {"PI0_N_VIDEO": "1", "PI0_VIDEO_DIR": str(tmp_path / "films"), "PI0_RENDER_SOURCE": "render"}
    runner = Pi0LiberoRunner(
        "libero_spatial",
        rollouts_per_env=2,
        num_parallel_envs=1,
        max_episode_length=20,
        task_names_to_use=[BOWL],
        num_steps_wait=0,
        image_size=planar.IMAGE_SIZE,
        settings=read_env_settings(environ),
    )
    try:
        result = runner.run(tiny_policy)
        assert result["rollout"]["rollout_count"] == 2
        (video,) = (tmp_path / "films").glob(f"{BOWL}_000_*.mp4")
        assert imageio.imread(video).shape == (4, 256, 256, 3)  # every 5th of 20 steps
        at_once, after_waiting = (start_of_bowl(runner, tiny_policy, wait) for wait in (0, 10))
        assert at_once.init_hash == after_waiting.init_hash
        assert at_once.states[0].tobytes() != after_waiting.states[0].tobytes()
        assert at_once.observations[0]["image"]["base_0_rgb"].std() > 5
        assert at_once.task_description == BOWL.replace("_", " ")
    finally:
        runner.close()


def start_of_bowl(runner: Pi0LiberoRunner, policy: PI0_OFT_Policy, wait: int) -> Episode:
    runner.num_steps_wait, runner.rollouts_per_env, runner.max_episode_length = wait, 1, 1
    ((_, _, episode),) = runner.run_policy_in_env(BOWL, policy)
    return episode

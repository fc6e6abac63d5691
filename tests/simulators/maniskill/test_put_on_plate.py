"""Objects on plates with a stand-in for RLinf's environment: what is missing, starts, pictures, rewards."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plates
import pytest
import torch
from hydra import compose, initialize_config_dir
from plates import SUITE

from ript.algos.rl_optimizers.contexts import LAYOUT_SEED
from ript.demonstrations import collect
from ript.env_runner.vec_env import StartOfEpisode, task_ids
from ript.models.pi0.norm_stats import NormStats
from ript.models.pi0.preprocess import prepare_image
from ript.simulators.maniskill.put_on_plate import scene as scenes
from ript.simulators.maniskill.put_on_plate.adapter import PutOnPlateAdapter
from ript.simulators.maniskill.put_on_plate.benchmark import PutOnPlateBenchmark
from ript.simulators.maniskill.put_on_plate.checkout import ASSETS, CODE
from ript.simulators.maniskill.put_on_plate.env import IMAGE, STATE, PutOnPlateEnv
from ript.simulators.maniskill.put_on_plate.episodes import draw_episode
from ript.simulators.maniskill.put_on_plate.scene import fitted, to_widowx, worth
from ript.simulators.maniskill.put_on_plate.simulator import PutOnPlateSimulator
from ript.simulators.maniskill.put_on_plate.suites import SUITES
from ript.simulators.named_tasks import EVALUATION_STARTS

CLOSE, OPEN = np.array([0.01, 0, 0, 0, 0, 0, 0.0]), np.array([0.01, 0, 0, 0, 0, 0, 1.0])
Make = Callable[..., PutOnPlateEnv]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, and the variables that name it."""
    monkeypatch.setenv("RLINF_HOME", str(tmp_path))
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "ManiSkill"))
    monkeypatch.delenv("MANISKILL_ASSET_DIR", raising=False)
    return plates.write_checkout(tmp_path)


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes environments of the stand-in."""
    monkeypatch.setattr(scenes, "configure_vulkan", lambda: None)
    monkeypatch.setattr(scenes, "working_backend", lambda what: "none")
    made: list[PutOnPlateEnv] = []

    def one(suite: str = SUITE, task_id: int = 2, image_size: int = 32) -> PutOnPlateEnv:
        made.append(PutOnPlateEnv(suite, task_id, image_size))
        return made[-1]

    yield one
    for env in made:
        env.close()


def test_without_a_checkout_one_line_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLINF_HOME", raising=False)
    with pytest.raises(ValueError) as caught:
        PutOnPlateBenchmark(SUITE)
    assert str(caught.value) == (
        "suite='maniskill_put_on_plate_25' needs RLinf's code: set RLINF_HOME to a checkout of it "
        "(git clone https://github.com/RLinf/RLinf)"
    )


HF = "hf download --repo-type dataset RLinf/maniskill_assets --local-dir {home}/rlinf/envs/maniskill/assets"
DOWNLOAD = "MS_ASSET_DIR={home}/ManiSkill python -m mani_skill.utils.download_asset"
MISSING = [
    (str(CODE), "RLinf's code", "git clone https://github.com/RLinf/RLinf, and RLINF_HOME is where it lies"),
    *(
        (f"{ASSETS}/carrot/{path}", "RLinf's assets", HF)
        for path in (
            "more_carrot/model_db.json",
            "more_carrot/carrot_24/collision.obj",
            "more_plate/model_db.json",
            "more_plate/plate_2/collision.obj",
            "more_table/model_db.json",
            "more_table/imgs/20.png",
            "more_table/textures/wood_20.png",
        )
    ),
    (
        "ManiSkill/data/tasks/bridge_v2_real2sim_dataset/stages/bridge_table_1_v1.glb",
        "the bridge scene",
        f"{DOWNLOAD} bridge_v2_real2sim -y",
    ),
    ("ManiSkill/data/robots/widowx/wx250s.urdf", "the WidowX robot", f"{DOWNLOAD} widowx250s -y"),
]


@pytest.mark.parametrize(("path", "what", "command"), MISSING)
def test_what_is_missing_is_named_with_its_place_and_the_command_that_brings_it(
    home: Path, path: str, what: str, command: str
) -> None:
    (home / path).unlink()
    with pytest.raises(ValueError) as caught:
        PutOnPlateBenchmark(SUITE)
    told = f"{what}, but there is no {home / path} (what brings it: {command.format(home=home)})"
    assert str(caught.value) == f"suite='{SUITE}' needs {told}"


def test_all_that_is_missing_is_in_the_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLINF_HOME", str(home / "elsewhere"))
    monkeypatch.setenv("MS_ASSET_DIR", str(home / "nowhere"))
    with pytest.raises(ValueError) as caught:
        PutOnPlateBenchmark(SUITE)
    said = str(caught.value)
    assert [said.count(f"{what}, but") for what in ("code", "assets", "scene", "robot")] == [1] * 4 and "\n" not in said


def test_rlinfs_own_variable_moves_its_assets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ASSETS).rename(home / "moved")
    with pytest.raises(ValueError, match="RLinf's assets"):
        PutOnPlateBenchmark(SUITE)
    monkeypatch.setenv("MANISKILL_ASSET_DIR", str(home / "moved"))
    assert PutOnPlateBenchmark(SUITE).n_tasks == 16


def test_assets_of_another_version_are_refused(home: Path) -> None:
    plates.write_list(home / ASSETS / "carrot/more_carrot", {"carrot_0": {"name": "carrot"}})
    with pytest.raises(ValueError, match=r"more_carrot/model_db.json names 1, but RLinf's code wants 25"):
        PutOnPlateBenchmark(SUITE)


def test_code_of_another_version_is_refused(make: Make, home: Path) -> None:
    (home / CODE).write_text("class PutOnPlateInScene25MainV4: ...")
    with pytest.raises(RuntimeError, match="has no PutOnPlateInScene25MainV3: it is of another version of RLinf"):
        make()


def test_a_task_that_there_is_not_is_refused_with_the_nearest(home: Path) -> None:
    with pytest.raises(ValueError, match=r"task='carrot_1_plate_0' is not valid; did you mean carrot_1_on_plate_0\?"):
        task_ids(PutOnPlateBenchmark(SUITE), "carrot_1_plate_0")
    with pytest.raises(ValueError, match=rf"task id 16 of {SUITE} is not in 0\.\.15"):
        PutOnPlateBenchmark(SUITE).get_task_init_states(16)
    with pytest.raises(ValueError, match=rf"did you mean {SUITE}\?"):
        PutOnPlateBenchmark("maniskill_put_on_plate")


@pytest.mark.parametrize(("suite", "number"), [(SUITE, 16), (f"{SUITE}_plates", 48), (f"{SUITE}_test", 9)])
def test_every_task_is_the_episodes_with_its_object_and_plate(make: Make, suite: str, number: int) -> None:
    env = make(suite)
    benchmark = PutOnPlateBenchmark(suite)
    assert benchmark.n_tasks == number
    said = set()
    for task_id in range(number):
        env.load_task(task_id)
        env.reset(7)
        (sentence,) = env.scene.env.get_language_instruction()
        assert sentence == benchmark.get_language(task_id)
        said.add(sentence)
    assert len(said) == number
    assert ("put carrot 16 on plate 0" in said) == (SUITES[suite].obj_set == "test")
    assert ("put carrot 0 on plate 2" in said) == SUITES[suite].several_plates


def test_an_environment_that_counts_otherwise_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make()
    monkeypatch.setattr(env.scene.env, "get_language_instruction", lambda: ["put carrot 3 on plate 0"])
    with pytest.raises(RuntimeError, match="is 'put carrot 3 on plate 0', not 'put carrot 2 on plate 0'"):
        env.reset(0)


def test_no_other_seed_is_an_episode_that_evaluation_plays(home: Path) -> None:
    starts = PutOnPlateBenchmark(SUITE).get_task_init_states(0)
    assert starts.shape == (EVALUATION_STARTS, 1) and starts.dtype == np.float64
    evaluated = {draw_episode(int(seed), 150) for seed in starts[:, 0]}
    others = {draw_episode(seed, 150) for seed in [*range(500), *range(LAYOUT_SEED, LAYOUT_SEED + 500)]}
    assert len(evaluated) == EVALUATION_STARTS and evaluated | others == set(range(150))
    assert evaluated.isdisjoint(others)


def play(env: PutOnPlateEnv, seed: int, start: np.ndarray | None = None) -> tuple[StartOfEpisode, np.ndarray]:
    began = env.reset(seed, start)
    env.step_chunk(np.stack([OPEN, CLOSE, CLOSE]))
    return began, env.scene.state()


def test_a_start_is_the_same_scene_in_a_used_and_in_a_fresh_environment(make: Make) -> None:
    used = make()
    play(used, 9)
    used.load_task(5)
    play(used, 9)
    used.load_task(2)
    fresh, ended = play(make(), 4)
    again, state = play(used, 0, np.array([4.0]))
    assert fresh.init_hash == again.init_hash and fresh.init_state.tolist() == again.init_state.tolist() == [4.0]
    np.testing.assert_array_equal(fresh.observation[IMAGE], again.observation[IMAGE])
    np.testing.assert_array_equal(ended, state)


def test_another_background_is_another_scene_though_all_that_moves_is_where_it_was(make: Make) -> None:
    env = make()
    hashes: dict[bytes, set[str]] = {}
    backgrounds: dict[bytes, set[int]] = {}
    for seed in range(60):
        hash_ = env.reset(seed).init_hash
        state = env.scene.state().tobytes()
        hashes.setdefault(state, set()).add(hash_)
        backgrounds.setdefault(state, set()).add(env.scene.env.background)
    assert max(map(len, backgrounds.values())) > 1
    assert all(len(hashes[state]) == len(backgrounds[state]) for state in hashes)


def test_a_picture_is_taken_only_where_the_policy_looks(make: Make) -> None:
    env = make()
    env.reset(0)
    assert env.scene.env.pictures == 1
    env.step_chunk(np.stack([OPEN] * 3), observe_last=False)
    assert env.scene.env.pictures == 1
    result = env.step_chunk(np.stack([OPEN] * 4), observe_every=2, frame_every=7, frame_size=64)
    assert list(result.observations) == [2, 4] and env.scene.env.pictures == 4
    assert result.observations[4][IMAGE].shape == (32, 32, 3) and result.frames[0].shape == (64, 64, 3)
    assert result.observations[4][STATE].shape == (8,) and result.observations[4][STATE].dtype == np.float64


def test_a_picture_is_upright_with_its_aspect_kept_between_black_borders(make: Make) -> None:
    image = make().reset(0).observation[IMAGE]
    assert image.dtype == np.uint8 and not image[:4].any() and not image[-4:].any()
    assert (image[4:15, :, 0] == 255).all() and (image[17:28] == image[20, 5]).all() and image[20, 5, 0] < 255


def test_a_picture_is_fitted_as_the_policy_fits_the_whole_one() -> None:
    whole = torch.randint(0, 256, (1, 480, 640, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    through = prepare_image(torch.as_tensor(fitted(whole, 224))[None], 224)
    assert (through - prepare_image(whole, 224)).abs().max() <= 1.001 / 255


def test_the_gripper_opens_above_a_half_and_closes_elsewhere(make: Make) -> None:
    env = make()
    env.reset(0)
    actions = np.zeros((4, 7))
    actions[:, 6] = [0.0, 0.5, 0.51, 1.0]
    actions[:, :6] = np.linspace(-0.03, 0.03, 6)
    env.step_chunk(actions)
    told = torch.stack(env.scene.env.told).numpy()
    assert told[:, 6].tolist() == [-1.0, -1.0, 1.0, 1.0]
    np.testing.assert_allclose(told[:, :6], actions[:, :6], rtol=1e-6)
    assert to_widowx(actions[0]).dtype == np.float32


def test_commands_are_the_policys_numbers_and_labels_are_those_again(tmp_path: Path) -> None:
    adapter = PutOnPlateAdapter(NormStats.load(plates.write_stats(tmp_path / "norm_stats.json")), False)
    chunk = np.random.default_rng(0).uniform(-1, 1, (8, 7))
    commands = adapter.to_env(chunk, np.zeros(8))
    np.testing.assert_allclose(commands[:, 6], 0.5 + 0.5 * chunk[:, 6], atol=1e-5)
    np.testing.assert_allclose(adapter.to_labels(commands, np.zeros(8)), chunk, atol=1e-5)
    raw = {IMAGE: np.zeros((4, 4, 3), np.uint8), STATE: np.arange(8.0)}
    seen = adapter.observe(raw, "put carrot on plate")
    assert list(seen["image"]) == list(adapter.cameras) == ["base_0_rgb"] and seen["state"].shape == (8,)
    assert (adapter.state_dim, adapter.action_dim) == (8, 7)


def test_rewards_are_what_a_step_adds_to_rlinfs_sum_and_success_ends_the_episode(make: Make) -> None:
    env = make()
    for _ in range(2):  # nothing is left of the first
        env.reset(0)
        result = env.step_chunk(np.stack([OPEN, *[CLOSE] * 6, OPEN, OPEN]))
        np.testing.assert_allclose(result.rewards, [0, 0.1, 0, 0, 0, 0.1, 0, 1.0])
        assert result.success and result.executed == 8
        with pytest.raises(RuntimeError, match="after success"):
            env.step_chunk(OPEN[None])


@pytest.mark.parametrize(
    ("grasped", "held", "success", "expected"),
    [(0, 0, 0, 0.0), (1, 0, 0, 0.1), (1, 1, 0, 0.2), (1, 1, 1, 1.2), (1, 0, 1, 1.1), (0, 0, 1, 0.0)],
)
def test_success_pays_only_with_an_object_that_was_grasped(
    grasped: int, held: int, success: int, expected: float
) -> None:
    info = {"is_src_obj_grasped": grasped, "consecutive_grasp": held, "success": success}
    assert worth({key: torch.tensor([bool(value)]) for key, value in info.items()}) == pytest.approx(expected)


def test_what_rlinf_prints_is_not_shown(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    make()
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.reset(0, np.array([0.5])), "needs a start of one seed, 0 to 4294967295, got"),
        (lambda env: env.reset(-1), "cannot be negative, got -1"),
        (lambda env: env.step_chunk(np.zeros((2, 4))), r"shape \(n, 7\)"),
        (lambda env: env.load_task(16), rf"task id 16 of {SUITE} is not in 0\.\.15"),
        (lambda env: PutOnPlateEnv(SUITE, 0, 1), "image_size must be at least 2"),
        (lambda env: PutOnPlateEnv(SUITE, 0, render="nice"), "render='nice' is not valid"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_done_is_refused(make: Make, call: Callable[[PutOnPlateEnv], Any], message: str) -> None:
    env = make()
    env.reset(0)
    with pytest.raises(ValueError, match=message):
        call(env)


def test_a_closed_environment_frees_the_simulation(make: Make) -> None:
    env = make()
    inner = env.scene.env
    env.close()
    env.close()
    assert inner.closed
    with pytest.raises(RuntimeError, match="is closed"):
        env.reset(0)


def test_a_run_is_configured_with_the_suite_and_the_one_camera() -> None:
    config = Path(__file__).parents[3] / "config"
    with initialize_config_dir(str(config), version_base="1.3"):
        cfg = compose("train_base_rl_pi0_cfg", [f"task={SUITE}", "algo=pi0_cfg_rl"])
    assert cfg.task.benchmark_name == SUITE and cfg.algo.cameras == ["base_0_rgb"]


def test_collecting_says_that_there_is_no_expert(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "make_simulator", PutOnPlateSimulator)
    options = collect.parse_arguments(["--suite", SUITE, "--out", str(home / "out")])
    with pytest.raises(ValueError, match=f"suite='{SUITE}' is not valid: its simulator has no expert"):
        collect.collect(options)

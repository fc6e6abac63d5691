from pathlib import Path

import pytest
import torch
from planar_run import planar_config

from ript.doctor import machine, policy
from ript.doctor.variables import check, check_variable
from ript.env_vars import VARIABLES, EnvSettings
from ript.estimate.memory import Memory, Options, estimate, find_architecture
from ript.training.loop import run

GIB = 2**30


@pytest.fixture(scope="module")
def needs() -> dict[str, Memory]:
    return {mode: estimate(find_architecture("pi0"), mode, Options(dtype="bfloat16")) for mode in policy.MODES}


def test_a_containers_limits_are_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    assert machine.cpu_quota(tmp_path / "cpu.max") == 1.5
    assert machine.memory_limit(tmp_path / "memory.max") == GIB
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cpu_quota(tmp_path / "cpu.max") is None and machine.cpu_quota(tmp_path / "absent") is None


def test_a_folder_of_runs_that_cannot_be_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = machine.check_folder(tmp_path / "file" / "runs")
    assert found.level == "problem" and "file is not a folder" in found.text and "paths.output_dir" in found.remedy
    assert machine.check_folder(tmp_path / "new" / "runs").level == "ok" and not (tmp_path / "new").exists()


def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LEAST_DISK", 2**62)
    assert machine.check_folder(tmp_path).level == "problem"


def test_shared_memory_matters_between_gpus_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "NCCL_SHM", 2**62)
    assert [machine.check_shared_memory(tmp_path, gpus).level for gpus in (0, 1, 2)] == ["ok", "ok", "note"]
    assert machine.check_shared_memory(tmp_path / "absent", 0).level == "note"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is used")
def test_a_driver_without_a_gpu_that_torch_can_use_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [found.level for found in machine.check_gpus()] == ["note" if machine._DRIVER.is_file() else "ok"]
    (tmp_path / "version").touch()
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "version")
    (found,) = machine.check_gpus()
    assert found.level == "note" and "NVIDIA driver" in found.text


def test_every_variable_that_is_read_is_known_and_no_other() -> None:
    named = {f"PI0_{name.upper()}" for name in EnvSettings.__dataclass_fields__}
    assert set(VARIABLES) == named


def test_a_variable_that_nothing_reads_is_a_note_and_a_bad_value_a_problem() -> None:
    misspelt = check_variable("PI0_CFG_SCAL", "2")
    assert misspelt.level == "note" and misspelt.remedy.startswith("did you mean PI0_CFG_SCALE?")
    wrong = check_variable("PI0_IS_POSITIVE", "2")
    assert wrong.level == "problem" and wrong.text == "valid values are 0, 1"
    assert check_variable("PI0_N_VIDEO", "2").level == "ok"


def test_all_bad_variables_are_told_not_the_first_alone() -> None:
    from ript.doctor.options import Options as What

    environ = {"PI0_VERBOSE": "yes", "PI0_N_VIDEO": "-1", "HOME": "/root"}
    assert [found.level for found in check(What(), environ)] == ["problem", "problem"]
    (told, none) = check(What(), {"RLINF_HOME": "/somewhere"})
    assert (told.level, told.subject, told.text, none.text) == ("ok", "RLINF_HOME", "/somewhere", "none is set")


@pytest.mark.parametrize(("free", "level"), [(1, "problem"), (100 * GIB, "note"), (200 * GIB, "ok")])
def test_a_disk_too_small_for_any_checkpoint_is_a_problem(needs: dict[str, Memory], free: int, level: str) -> None:
    assert policy.disk(needs, free).level == level


@pytest.mark.parametrize(("usable", "level"), [(4 * GIB, "problem"), (24 * GIB, "note"), (90 * GIB, "ok")])
def test_a_gpu_too_small_for_inference_is_a_problem(needs: dict[str, Memory], usable: int, level: str) -> None:
    assert policy.memory(needs, usable, "of it").level == level


def test_a_checkpoint_takes_what_is_said(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = (
        "algo.ema_decay=0.5",
        "rollout.enabled=false",
        "training.n_steps=1",
        "algo.enable_dynamic_sampling=false",
    )
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step_*")
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != "tokenizer.json"]
    need = estimate(find_architecture(str(tiny_policy_folder)), "full", Options())
    size = sum(path.stat().st_size for path in files)
    assert size == pytest.approx(policy.checkpoint_bytes(need), rel=0.1)  # names of tensors take the rest

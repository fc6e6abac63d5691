"""Metrics go to several places; one that fails costs the others nothing."""

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from planar_run import planar_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ript.training.loop import InputError, run
from ript.training.metric_backends import check_backends
from ript.training.run_logging import RunLogger


def config(*backends: str, mode: str = "offline") -> Any:
    logs = {"backends": list(backends), "mode": mode, "project": "ript-pi0"}
    return OmegaConf.create({"training": {"log_interval": 1}, "logging": logs})


def lines(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_tensorboard_has_what_the_jsonl_file_has(tmp_path: Path) -> None:
    log = RunLogger(tmp_path, config("tensorboard"), enabled=True)
    for step in (1, 2):
        log.log(step, "train", {"loss": 0.5 * step})
    log.log(2, "eval", {"rate": 0.25})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 1.0)]
    assert [(e.step, e.value) for e in events.Scalars("eval/rate")] == [(2, 0.25)]
    assert [line.get("loss") for line in lines(tmp_path)] == [0.5, 1.0, None]


def test_a_backend_that_fails_is_told_once_and_costs_the_others_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    log = RunLogger(tmp_path, config("wandb", "tensorboard"), enabled=True)
    log.log(1, "train", {"loss": 1.0})
    assert wandb.run is not None
    wandb.run.finish()  # behind the logger's back: what it logs next is refused
    with caplog.at_level(logging.ERROR):
        for step in (2, 3):
            log.log(step, "train", {"loss": float(step)})
        log.close()
    (told,) = [record for record in caplog.records if record.name.startswith("ript")]  # wandb logs too
    assert told.getMessage().startswith("wandb failed at step 2 and is left out") and told.exc_info is not None
    assert [line["loss"] for line in lines(tmp_path)] == [1.0, 2.0, 3.0]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("train/loss")] == [1.0, 2.0, 3.0]


def test_swanlab_offline_needs_no_account_and_leaves_ctrl_c_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("swanlab", reason="optional: pip install -e '.[swanlab]'")
    key = "c0ffee" * 6
    monkeypatch.setenv("SWANLAB_API_KEY", key)
    before = signal.getsignal(signal.SIGINT)
    log = RunLogger(tmp_path, config("swanlab"), enabled=True)
    assert signal.getsignal(signal.SIGINT) is before
    log.log(1, "train", {"loss": 1.0})
    log.close()
    (record,) = (tmp_path / "swanlab").glob("run-*/*.swanlab")
    assert b"train/loss" in record.read_bytes()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_a_package_that_is_not_installed_is_refused_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "swanlab", None)
    with pytest.raises(ValueError, match=r"swanlab is not installed; python -m pip install .* -e '\.\[swanlab\]'"):
        check_backends({"backends": ["tensorboard", "swanlab"], "mode": "offline"})


def test_a_backend_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(ValueError, match=r"^logging.backends: tensorboard cannot be opened: .+$"):
        RunLogger(tmp_path, config("tensorboard"), enabled=True)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tensorboard": False}, r"logging.tensorboard is not a key any more; write logging.backends=\[tensorboard\]"),
        ({"wandb": {"mode": "offline"}}, r"write logging.backends=\[tensorboard,wandb\], with logging.mode=offline"),
        ({"backends": ["wandbb"]}, "logging.backends='wandbb' is not valid; did you mean wandb"),
        ({"backends": "wandb"}, "logging.backends='wandb' is not valid: must be a list"),
        ({"backends": None}, "must be a list"),
        ({"mode": "disabled"}, "logging.mode='disabled' is not valid. Valid: offline, online"),
    ],
)
def test_bad_settings_and_keys_of_earlier_versions_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_backends({"backends": [], "mode": "offline", **settings})


def test_a_run_refuses_them_before_anything_is_written(tmp_path: Path, tiny_policy_folder: Path) -> None:
    with pytest.raises(InputError, match=r"logging\.wandb is not a key any more"):
        run(planar_config(tmp_path / "run", tiny_policy_folder, "+logging.wandb.mode=offline"))
    assert not (tmp_path / "run").exists()

from pathlib import Path

import pytest

from ript.env_vars import EnvSettings, read_env_settings, read_rlinf_home


def test_nothing_set_gives_the_defaults() -> None:
    assert read_env_settings({}) == EnvSettings()


def test_every_variable_is_read() -> None:
    environ = {
        "PI0_VERBOSE": "1",
        "PI0_DISABLE_INIT_STATES": "1",
        "PI0_N_VIDEO": "3",
        "PI0_VIDEO_DIR": "films",
        "PI0_RENDER_SOURCE": "render",
        "PI0_ENABLE_DUAL": "0",
        "PI0_CFG_SCALE": "2.5",
        "PI0_IS_POSITIVE": "0",
    }
    assert read_env_settings(environ) == EnvSettings(True, True, 3, "films", "render", False, 2.5, 0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (EnvSettings(), 3.0),
        (EnvSettings(cfg_scale=2.0), 2.0),
        (EnvSettings(cfg_scale=2.0, enable_dual=False), 1.0),
        (EnvSettings(is_positive=0), 1.0),
    ],
)
def test_the_environment_wins_over_the_configured_guidance(settings: EnvSettings, expected: float) -> None:
    assert settings.guidance(3.0) == expected


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("PI0_VERBOSE", "yes", "0, 1"),
        ("PI0_ENABLE_DUAL", "2", "0, 1"),
        ("PI0_N_VIDEO", "-1", "at least 0"),
        ("PI0_N_VIDEO", "two", "at least 0"),
        ("PI0_CFG_SCALE", "-0.5", "at least 0"),
        ("PI0_CFG_SCALE", "nan", "at least 0"),
        ("PI0_CFG_SCALE", "inf", "at least 0"),
        ("PI0_IS_POSITIVE", "2", "0, 1"),
        ("PI0_RENDER_SOURCE", "screen", "obs, render"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_valid_ones(name: str, value: str, valid: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*{valid}"):
        read_env_settings({name: value})


@pytest.mark.parametrize("named", ["", " "])
def test_an_empty_home_is_none(named: str) -> None:
    assert read_rlinf_home({"RLINF_HOME": named}) is read_rlinf_home({}) is None


def test_a_home_is_absolute_for_processes_that_work_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read_rlinf_home({"RLINF_HOME": "~/RLinf"}) == Path("/home/me/RLinf")
    assert read_rlinf_home({"RLINF_HOME": "RLinf"}) == Path.cwd() / "RLinf"

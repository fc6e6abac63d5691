import os
import subprocess
import sys

import pytest

from ript.simulators import rendering
from ript.simulators.rendering import configure_rendering


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """No backend chosen; what a test chooses is undone after it."""
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def libraries(monkeypatch, *installed):
    monkeypatch.setattr(rendering, "_loads", lambda library: library in installed)


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_a_backend_chosen_by_the_user_is_kept(monkeypatch, backend):
    libraries(monkeypatch, *rendering.LIBRARIES.values())
    monkeypatch.setenv("MUJOCO_GL", backend)
    assert configure_rendering() == backend
    assert os.environ["PYOPENGL_PLATFORM"] == backend


@pytest.mark.parametrize("backend", ["glfw", "glx", "egl1"])
def test_a_backend_that_needs_a_display_is_rejected_with_the_valid_ones(monkeypatch, backend):
    monkeypatch.setenv("MUJOCO_GL", backend)
    with pytest.raises(ValueError, match=rf"MUJOCO_GL='{backend}'.*egl, osmesa"):
        configure_rendering()


def test_a_backend_that_is_not_installed_is_rejected_with_what_to_install(monkeypatch):
    libraries(monkeypatch, "libEGL.so.1")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(ValueError, match=r"MUJOCO_GL='osmesa'.*libOSMesa\.so\.8 is not installed.*apt-get install"):
        configure_rendering()


@pytest.mark.parametrize(
    "installed, chosen",
    [(("libEGL.so.1", "libOSMesa.so.8"), "egl"), (("libEGL.so.1",), "egl"), (("libOSMesa.so.8",), "osmesa")],
)
def test_egl_comes_before_osmesa(monkeypatch, installed, chosen):
    libraries(monkeypatch, *installed)
    assert configure_rendering() == chosen
    assert (os.environ["MUJOCO_GL"], os.environ["PYOPENGL_PLATFORM"]) == (chosen, chosen)


def test_without_a_library_one_line_says_what_to_install(monkeypatch):
    libraries(monkeypatch)
    with pytest.raises(ValueError, match=r"apt-get install libegl1 .*libosmesa6") as caught:
        configure_rendering()
    assert "\n" not in str(caught.value)
    assert "MUJOCO_GL" not in os.environ


def test_a_library_that_is_not_installed_does_not_load():
    assert not rendering._loads("libNoSuchLibrary.so.1")


def test_choosing_a_backend_does_not_import_the_simulator():
    code = (
        "import sys; from ript.simulators.rendering import configure_rendering; configure_rendering(); "
        "print('mujoco' in sys.modules)"
    )
    environ = {**os.environ, "MUJOCO_GL": "egl"}
    output = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "False"

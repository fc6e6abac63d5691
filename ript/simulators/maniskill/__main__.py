"""Draws one picture of ManiSkill, and ends with an error where nothing can: `python -m ript.simulators.maniskill`."""

import sys
from contextlib import closing

from ript.simulators.maniskill.scene import TaskScene


def main() -> None:
    """Runs the command."""
    with closing(TaskScene("PushCube-v1", image_size=16)) as scene:
        scene.reset(0)
        if not scene.picture(16).any():
            sys.exit("the picture is black")


if __name__ == "__main__":
    main()

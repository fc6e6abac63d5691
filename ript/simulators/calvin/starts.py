"""Starts of episodes: the vector (39,) that fixes all of a scene, drawn as CALVIN's evaluation draws it.

It is CALVIN's `robot_obs` (15) and `scene_obs` (24): pose of the hand (m, Euler angles), opening of the gripper, 7
joints, gripper 1 open or −1 closed; sliding door, drawer, button, switch, light bulb, led, and per block (red, blue,
pink) position and Euler angles.
"""

from __future__ import annotations

import numpy as np

from ript.simulators.calvin.changes import State, states_before
from ript.simulators.calvin.tasks import COLORS

ROBOT_DIM, SCENE_DIM = 15, 24
START_DIM = ROBOT_DIM + SCENE_DIM
GRIPPER = ROBOT_DIM - 1
LIGHTS = slice(ROBOT_DIM + 4, ROBOT_DIM + 6)

HAND = np.array([0.02586889, -0.2313129, 0.5712808, 3.09045411, -0.02908596, 1.50013585])
JOINTS = np.array([-1.21779124, 1.03987629, 2.11978254, -2.34205014, -0.87015899, 1.64119093, 0.55344928])
OPEN_WIDTH = 0.07999963
"""The arm as CALVIN's evaluation has it: over the table, open."""
GRASP_WIDTH = 0.04
"""Metres: the narrow side of each block."""

TABLE = np.array([[0.0500000896, -0.120000177, 0.459990009], [0.229995412, -0.119995140, 0.459990010]])
SLIDER = {
    "slider_left": np.array([-0.240851662, 0.0924044687, 0.460990009]),
    "slider_right": np.array([0.0703416330, 0.0924044687, 0.460990009]),
}
DRAWER = np.array([0.18, -0.28, 0.3623])
"""Inside of the open drawer, at rest."""
_HEIGHT = np.array([0, 0, 0.04])
"""Of a block."""
_TURNS = (np.pi / 2 - np.pi / 8, np.pi / 2 + np.pi / 8)


def draw(task: str, seed: int) -> np.ndarray:
    """A task's start `(39,)` float64: one of the states in which the task can begin, and where blocks lie in it."""
    random = np.random.RandomState(np.random.MT19937(seed))
    states = states_before(task)
    return place(states[random.randint(len(states))], random)


def place(state: State, random: np.random.RandomState) -> np.ndarray:
    """The start `(39,)` float64 of a state: which block has which place on the table, and how each is turned."""
    spots = list(TABLE)
    random.shuffle(spots)
    scene = np.zeros(SCENE_DIM)
    scene[:6] = (
        0.28 if state["slider"] == "left" else 0,
        0.22 if state["drawer"] == "open" else 0,
        0,
        0.088 if state["lightbulb"] else 0,
        state["lightbulb"],
        state["led"],
    )
    for number, (color, position) in enumerate(_positions(state, spots).items()):
        turn = random.uniform(*_TURNS)
        held = state[f"{color}_block"] == "grasped"
        scene[6 + 6 * number : 12 + 6 * number] = [*position, 0, 0, HAND[5] if held else turn]
    width, gripper = (GRASP_WIDTH, -1.0) if state["grasped"] else (OPEN_WIDTH, 1.0)
    return np.concatenate([HAND, [width], JOINTS, [gripper], scene])


def _positions(state: State, spots: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Colour → position. On the table the red block has the first place, the pink one the second."""
    places = {color: state[f"{color}_block"] for color in COLORS}
    on_table = [color for color, at in places.items() if at in ("table", "stacked_bottom")]
    taken = {color: spots[_spot(color, on_table)] for color in on_table}
    found = {}
    for color, at in places.items():
        if at == "stacked_top":
            bottom = next(other for other, its in places.items() if its == "stacked_bottom")
            found[color] = taken[bottom] + _HEIGHT
        else:
            elsewhere = {**SLIDER, "drawer": DRAWER, "grasped": HAND[:3]}
            found[color] = taken[color] if color in taken else elsewhere[str(at)]
    return found


def _spot(color: str, on_table: list[str]) -> int:
    """The pink block always lies on the second place; the blue one where the red one does not."""
    return int(color == "pink" or (color == "blue" and "red" in on_table))

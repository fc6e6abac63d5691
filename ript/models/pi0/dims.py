"""Widths of states and actions. Apart from the network's configuration: simulator processes need them without torch."""

STATE_DIM = 8
"""End-effector position (3), its axis-angle (3), the two finger positions."""
ACTION_DIM = 7
"""Translation (3), axis-angle rotation (3), gripper."""
PADDED_DIM = 32
"""Width of states and actions inside the network; what lies beyond the robot's own dimensions is zero."""
MAX_ASPECT = 8
"""A longer image would have no pixels left once it is fitted into the network's square."""

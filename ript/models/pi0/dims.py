"""Widths of states and actions. Apart from the network's configuration: simulator processes need them without torch."""

STATE_DIM, ACTION_DIM = 8, 7
"""Widths of the robot's state and actions where nothing says them: those of the π0 policies that other tools train."""
PADDED_DIM = 32
"""Width of states and actions inside the network; what lies beyond the robot's own dimensions is zero."""
MAX_ASPECT = 8
"""A longer image would have no pixels left once it is fitted into the network's square."""

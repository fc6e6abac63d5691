"""From the WidowX's observation to π0's, and back from π0's actions to its commands."""

from ript.simulators.maniskill.adapter import ManiSkillAdapter
from ript.simulators.maniskill.put_on_plate.env import ACTION_DIM, IMAGE, STATE, STATE_DIM


class PutOnPlateAdapter(ManiSkillAdapter):
    """RLinf's conventions and one policy's normalisation: an `Adapter`.

    The state is the positions of the arm's joints (6, rad) and of the fingers (2, m). What becomes of the gripper's
    number, the environment decides, so that labels are what the policy said.
    """

    state_dim, action_dim = STATE_DIM, ACTION_DIM
    image_key, state_key = IMAGE, STATE

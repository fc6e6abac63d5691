"""ManiSkill's tasks whose assets are in its package, and the sentences that policies are prompted with."""

PACKAGES = ("mani-skill", "sapien", "gymnasium")
"""The installed distributions on which they run."""

SET_UP = "bash scripts/setup_maniskill.sh"
REMEDY = f"a Vulkan driver that renders: {SET_UP}"
"""What helps where they do not start."""

SUITE = "maniskill"

INSTRUCTIONS = {
    "PickCube-v1": "Pick up the red cube and move it to the green goal",
    "PushCube-v1": "Push the blue cube onto the target",
    "PullCube-v1": "Pull the blue cube onto the target",
    "StackCube-v1": "Stack the red cube on the green cube",
    "StackPyramid-v1": "Put the red cube next to the green cube and stack the blue cube on both",
    "PlaceSphere-v1": "Pick up the blue sphere and place it in the bin",
    "LiftPegUpright-v1": "Lift the peg and stand it upright",
    "PokeCube-v1": "Poke the cube with the peg onto the target",
    "PullCubeTool-v1": "Pull the cube within reach with the tool",
    "RollBall-v1": "Roll the ball to the target",
}
"""Task → instruction. ManiSkill has none of its own: these are ours."""

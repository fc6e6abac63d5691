"""Records and folders of evaluations that nobody played."""

from dataclasses import replace
from pathlib import Path

from ript.evaluation.episode_log import EpisodeLog, EpisodeRecord
from ript.evaluation.protocol import Plan, Protocol, Setting, open_evaluation

TASKS = ("open_the_drawer", "push_the_plate")
SETTINGS = (Setting(10, 1.0), Setting(2, 1.0), Setting(2, 1.5))

PROTOCOL = Protocol(
    policy={"path": "/policies/a", "kind": "pi0", "sha256": {"model.safetensors": "ab12"}},
    suite="libero_goal",
    seed=0,
    max_steps=300,
    wait_steps=10,
    open_loop=50,
    image_size=224,
    device="cpu",
    versions={"ript-pi0": "0.1.0"},
)

RECORD = EpisodeRecord(
    denoise_steps=10,
    cfg_scale=1.0,
    task=TASKS[0],
    task_id=0,
    index=0,
    state_index=0,
    scene_seed=0,
    success=False,
    length=300,
    seconds=12.5,
    scene_hash="c0ffee",
)


def record(setting: Setting, task: str, index: int, success: bool, length: int = 300) -> EpisodeRecord:
    return replace(
        RECORD,
        denoise_steps=setting.denoise_steps,
        cfg_scale=setting.cfg_scale,
        task=task,
        task_id=TASKS.index(task),
        index=index,
        state_index=index,
        scene_seed=index,
        success=success,
        length=length,
    )


def write_evaluation(folder: Path, episodes: int = 6, played: int = 6) -> list[EpisodeRecord]:
    """A folder with `played` of `episodes` episodes per task; how many succeed differs by setting and task."""
    plan: Plan = {setting: dict.fromkeys(TASKS, episodes) for setting in SETTINGS}
    folder.mkdir(parents=True, exist_ok=True)
    open_evaluation(folder, PROTOCOL, plan)
    with EpisodeLog(folder) as log:
        for level, setting in enumerate(SETTINGS):
            for number, task in enumerate(TASKS):
                for index in range(played):
                    log.append(record(setting, task, index, index % 4 > level + number - 1, 100 + 7 * index))
        return log.records

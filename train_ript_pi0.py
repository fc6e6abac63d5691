"""Post-trains a π0 policy with reinforcement learning on LIBERO.

    python train_ript_pi0.py algo=pi0_cfg_rl task=libero_spatial
    torchrun --nproc_per_node=8 train_ript_pi0.py --config-name train_rl_pi0_cfg_all_task_spatial

All keys with their meaning: `config/`; `python train_ript_pi0.py --help` prints them with their values.
"""

import os
import re
import shlex
import sys

import hydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # before anything forks or spawns
os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors arrive below as they are


@hydra.main(version_base="1.3", config_path="config", config_name="train_base_rl_pi0_cfg")
def main(cfg: DictConfig) -> None:
    """Runs what the configuration describes.

    Bad input ends with one line and exit code 2; a disk or a simulator that fails, with one line and exit code 1.
    """
    from ript.training.faults import RunFailed
    from ript.training.loop import InputError, run

    try:
        run(cfg)
    except InputError as error:
        refuse(str(error))
    except RunFailed as error:
        refuse(str(error), exit_code=1)
    except KeyboardInterrupt:
        sys.exit(130)


def refuse(message: str, exit_code: int = 2) -> None:
    """Ends the program with one line."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)


def describe(error: HydraException) -> str:
    """The first line of Hydra's message, and the valid choices where it knows them; how to quote what it misread."""
    if isinstance(error, OverrideParseException):
        return explain_override(error.override)
    options = error.options if isinstance(error, MissingConfigException) else None
    first = str(error).splitlines()[0]
    if first.startswith("Ambiguous value for argument '"):
        override = first.split("'", 1)[1].rstrip("'")
        return f"{explain_override(override)}; or a list: {shlex.quote('{}=[{}]'.format(*override.split('=', 1)))}"
    replaced = re.match(r"Could not override 'logging\.(tensorboard|wandb)\b", first)
    if replaced:
        from ript.training.metric_backends import REPLACED

        return f"{first}: it is no key any more; write {REPLACED[replaced[1]]}"
    return f"{first}. Valid: {', '.join(options)}" if options else first


def explain_override(override: str) -> str:
    """One line on an argument that Hydra's grammar does not take as it stands."""
    key, equals, value = override.partition("=")
    if not key.strip("+~") or not equals:
        return f"{override!r} is not understood: an argument is key=value"
    escaped = value.replace('"', '\\"')
    quoted = shlex.quote(f'{key}="{escaped}"')
    return f"{override!r} is not understood: write {quoted}, with both kinds of quotes"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if argument.lstrip("+~").startswith("="):  # Hydra's own answer to a missing key is a traceback
            refuse(explain_override(argument))
    try:
        main()
    except HydraException as error:
        refuse(describe(error))

"""Post-trains a π0 policy with reinforcement learning on LIBERO.

    python train_ript_pi0.py algo=pi0_cfg_rl task=libero_spatial
    torchrun --nproc_per_node=8 train_ript_pi0.py --config-name train_rl_pi0_cfg_all_task_spatial

All keys with their meaning: `config/`; `python train_ript_pi0.py --help` prints them with their values.
"""

import os
import sys

import hydra
from omegaconf import DictConfig

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # before anything forks or spawns


@hydra.main(version_base="1.3", config_path="config", config_name="train_base_rl_pi0_cfg")
def main(cfg: DictConfig) -> None:
    """Runs what the configuration describes; bad input ends with one line and exit code 2."""
    from ript.training.loop import InputError, run

    try:
        run(cfg)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Algorithms side by side: one task, one start, the same contexts, the same budget of environment steps.
#
#   bash scripts/results/algorithms.sh runs/algorithms
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/algorithms_common.sh"

TASKS=$task DEMOS=20 STEPS=300 EPISODES=1 NPROC=$nproc bash "$root/scripts/make_small_pi0.sh" "$folder/start"

judge start 200 "$denoise_steps"
compare grpo grpo
compare ppo_sde ppo algo.sampler=sde algo.noise_level=0.5 algo.ignore_last=true # noise of the last step stays in the actions
compare cfg_flow cfg
compare nft nft
compare ppo_noise ppo algo.sampler=noise algo.lr=3e-5 algo.header_lr=3e-5 # with less noise the same step moves the policy further
compare dsrl dsrl

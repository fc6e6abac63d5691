"""From the configuration to the parts of a run; every bad value is refused here, before anything slow starts."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch.optim import AdamW

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.group_source import GroupSource, LocalGroups
from ript.checks import in_range, one_of, whole_number
from ript.distributed import Distributed
from ript.env_vars import read_env_settings
from ript.sharding import MODES
from ript.training.learner import Learner
from ript.training.metric_backends import check_backends
from ript.training.schedule import Schedule
from ript.training.weight_average import WeightAverage

PLACEMENTS = ("rollouts", "simulators")
"""What is in a cluster: workers that play, with a policy and simulators, or the learner's simulators alone."""


@dataclass
class Parts:
    """Everything the loop needs."""

    policy: PI0_OFT_Policy
    env_runner: Any
    rl_optimizer: Any
    """One of `ript.algos.rl_optimizers`: `optimize`, `state_dict`, `load_state_dict`, `save_arrays`, `load_arrays`."""
    loader: Any
    """An endless iterable of batches with `state_dict` and `load_state_dict`."""
    learner: Learner
    group_source: GroupSource
    """Who plays the groups of rollouts, if the algorithm has any."""


def check_config(cfg: DictConfig) -> None:
    """Raises ValueError for values that no part's constructor looks at."""
    whole_number("rollout.rollouts_per_env", cfg.rollout.rollouts_per_env, 1)
    whole_number("seed", cfg.seed, 0)
    in_range("seed", cfg.seed, 0, 2**32 - 1 - cfg.rollout.rollouts_per_env)  # each rollout's scene adds its number
    whole_number("num_threads", cfg.num_threads, 1)
    for key in ("n_steps", "rollout_steps", "save_interval", "log_interval", "cut", "keep_checkpoints"):
        whole_number(f"training.{key}", cfg.training[key], 1)
    one_of("training.resume", cfg.training.resume, (True, False, "auto"))
    whole_number("rollout.interval", cfg.rollout.interval, 1)
    whole_number("rollout.n_video", cfg.rollout.n_video, 0)
    one_of("rollout.info_on_video", cfg.rollout.info_on_video, (True, False))
    in_range("rollout.cfg_scale", cfg.rollout.cfg_scale, 0)
    for beta in cfg.algo.betas:
        in_range("algo.betas", beta, 0, 1)
    in_range("algo.weight_decay", cfg.algo.weight_decay, 0)
    in_range("algo.ema_decay", cfg.algo.ema_decay, 0, 1)
    check_cluster(cfg)
    check_backends(cast(dict[str, Any], OmegaConf.to_container(cfg.logging, resolve=True)))
    make_schedule(cfg)


def check_cluster(cfg: DictConfig) -> None:
    """Raises ValueError for what of `cluster` cannot be, or not together."""
    cluster = cfg.cluster
    one_of("cluster.placement", cluster.placement, PLACEMENTS)
    one_of("cluster.sharding", cluster.sharding, MODES)
    has_workers = cluster.address is not None and cluster.placement == "rollouts"
    one_of("cluster.staleness", cluster.staleness, (0, 1) if has_workers else (0,))
    if has_workers and "rollout_generator" not in cfg.algo:
        raise ValueError("cluster.address is not valid with an algorithm that has no rollouts: set it to null")
    if cluster.placement == "simulators":
        if cluster.address is None:
            raise ValueError("cluster.placement=simulators is not valid with cluster.address=null: there is no cluster")
        if cluster.num_workers != 1:
            raise ValueError(
                f"cluster.num_workers={cluster.num_workers} is not valid with cluster.placement=simulators, of which "
                "each rank has algo.num_parallel_envs. Valid: 1"
            )
    if cluster.sharding == "fsdp2" and cfg.algo.get("compile"):
        raise ValueError("cluster.sharding=fsdp2 is not valid with algo.compile=true. Valid: replicate")
    if cluster.sharding == "fsdp2" and has_workers:
        raise ValueError(
            "cluster.sharding=fsdp2 is not valid with rollout workers (cluster.address): they get whole weights"
        )


def build_parts(cfg: DictConfig, distributed: Distributed, resumed_policy: Path | None = None) -> Parts:
    """Builds the parts; the policy, which takes long, after what can be checked without it.

    `resumed_policy` is the policy folder of the checkpoint that the run goes on from; it replaces the configuration's.
    Raises ValueError or FileNotFoundError.
    """
    algo = cfg.algo
    scope: dict[str, Any] = {**algo, **cfg.task, **cfg.paths, "seed": cfg.seed, "use_tqdm": cfg.logging.use_tqdm}
    scope |= {"rollouts_per_env": cfg.rollout.rollouts_per_env, "distributed": distributed}
    scope |= {"info_on_video": cfg.rollout.info_on_video}
    settings = read_env_settings()
    runner = scope["runner"] = scope["env_runner"] = build(algo.env_runner, scope, settings=settings)
    groups = scope["group_source"] = make_group_source(cfg, runner, distributed)
    scope["reward_function"] = build(cfg.reward_function, scope)
    early = ("heads", "estimator", "exploration", "weighting", "loss", "critic_loss", "cutter", "augmentation")
    for name in ("rollout_generator", "reflow", "co_training", *early):
        if name in algo:
            scope[name] = build(algo[name], scope)
    device_id = distributed.device.index if distributed.device.type == "cuda" else None
    start: dict[str, Any] = {}
    if resumed_policy is not None:  # an adapter's weights are where the run began
        start = {"pretrained_path": str(resumed_policy), "base_path": algo.pretrained_path, "random_weights": False}
    policy = scope["policy"] = build(algo.policy, scope, device_id=device_id, **start)
    runner.check_policy(policy)
    wanted = {"demonstration_windows": algo.get("demonstration_share"), "prefix_store": algo.get("reuse_prefix")}
    wanted["offline"] = algo.get("offline_episodes")
    if "co_training" in scope:
        wanted["co_train_windows"] = scope["co_training"].weight
    for name in ("loader", "demonstration_windows", "co_train_windows", "prefix_store", "storage", "offline"):
        if name in algo:
            scope[name] = build(algo[name], scope) if wanted.get(name, True) else None
    rl_optimizer = build(algo.rl_optimizer, scope)
    distributed.broadcast([*policy.model.state_dict().values(), *policy.heads.state_dict().values()])
    if cfg.cluster.sharding == "fsdp2" and distributed.world_size > 1:
        policy.shard(distributed)
    if not isinstance(groups, LocalGroups):
        make_runner = prepare(algo.env_runner, scope, settings=settings)
        groups.start(policy, prepare(algo.policy, scope), make_runner, cfg.num_threads, cfg.seed)
    return Parts(policy, runner, rl_optimizer, scope["loader"], make_learner(cfg, policy, distributed), groups)


def make_group_source(cfg: DictConfig, runner: Any, distributed: Distributed) -> Any:
    """Who plays groups: this process, on simulators here or in a Ray cluster, or workers in a Ray cluster.

    The cluster is looked at before anything slow starts; Ray is imported only for it. Raises ValueError.
    """
    if cfg.cluster.address is None:
        return LocalGroups(runner)
    try:
        from ript.cluster.remote_groups import RemoteGroups
        from ript.cluster.remote_simulators import RemoteSimulators
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        install = "python -m pip install -c scripts/constraints.txt -e '.[cluster]'"
        raise ValueError(f"cluster.address needs Ray: {install}, or set it to null") from error
    cluster = cast(dict[str, Any], OmegaConf.to_container(cfg.cluster, resolve=True))
    address, resources, timeouts = cluster["address"], cluster["resources"], cluster["timeouts"]
    if cluster["placement"] == "simulators":
        resources = {"CPU": 1} if resources is None else resources
        return RemoteSimulators(runner, address, resources, timeouts["start_s"], distributed)
    if resources is None:
        gpu = {"GPU": 1} if distributed.device.type == "cuda" else {}
        resources = {"CPU": cfg.algo.num_parallel_envs, **gpu}
    return RemoteGroups(address, cluster["num_workers"], resources, cluster["staleness"], timeouts, distributed)


def build(node: DictConfig, scope: Mapping[str, Any], **own: Any) -> Any:
    """Calls what the node's `_target_` names, see `prepare`."""
    return prepare(node, scope, **own)()


def prepare(node: DictConfig, scope: Mapping[str, Any], **own: Any) -> partial[Any]:
    """What the node's `_target_` names, with its arguments.

    Each argument is taken from `own`, else from the node, else from the scope, by its name; one that is nowhere has the
    target's default.

    Raises ValueError for a target that does not exist, or a key of the node that the target does not take.
    """
    parameters = arguments_of(node["_target_"])
    given = {str(key): value for key, value in node.items() if key != "_target_"}
    for key in given:
        one_of(f"key of {node['_target_']}", key, parameters)
    found = {**scope, **given, **own}
    return partial(_target(node["_target_"]), **{name: _plain(found[name]) for name in parameters if name in found})


def make_schedule(cfg: DictConfig) -> Schedule:
    """The learning rates of the run. Raises ValueError."""
    algo = cfg.algo
    rates = {"model": algo.lr, "header": algo.header_lr, "value": algo.get("value_lr", 0.0)}
    rates["latent"] = algo.get("latent_lr", 0.0)
    return Schedule(rates, algo.lr_schedule, algo.warmup_steps, cfg.training.n_steps)


def make_learner(cfg: DictConfig, policy: PI0_OFT_Policy, distributed: Distributed) -> Learner:
    """AdamW on each group of the policy's parameters, and the average of the weights, if one is asked for."""
    algo, groups = cfg.algo, policy.trainable_params
    optimizers = {
        group: AdamW(parameters, betas=tuple(algo.betas), weight_decay=algo.weight_decay)
        for group, parameters in groups.items()
    }
    everything = [parameter for parameters in groups.values() for parameter in parameters]
    average = WeightAverage(everything, algo.ema_decay, warm_up=algo.random_weights) if algo.ema_decay else None
    return Learner(
        policy,
        optimizers,
        schedule=make_schedule(cfg),
        average=average,
        optimizer_batch_size=algo.optimizer_batch_size,
        gradient_clip=algo.gradient_clip,
        distributed=distributed,
    )


def arguments_of(name: str) -> list[str]:
    """Names of the arguments of what a `_target_` names; those of the base class too where a constructor passes
    `**options` on. Raises ValueError for a target that does not exist."""
    target = _target(name)
    names: list[str] = []
    for owner in target.__mro__ if inspect.isclass(target) else [target]:
        found = inspect.signature(owner).parameters
        names += [name for name, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not any(p.kind == p.VAR_KEYWORD for p in found.values()):
            break
    return names


def _target(name: str) -> Any:
    try:
        return get_object(name)
    except ImportError as error:
        raise ValueError(f"_target_={name!r} is not valid: {error}") from error


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

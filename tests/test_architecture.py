"""The house's order: who may import whom, and who may know a simulator's name."""

import ast
import pkgutil
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ript.simulators

ROOT = Path(ript.__file__).parents[1]

LAYERS = (
    (
        "ript.checks",
        "ript.json_files",
        "ript.distributed",
        "ript.env_vars",
        "ript.seeds",
        "ript.locks",
        "ript.progress",
    ),
    ("ript.device", "ript.sharding"),
    ("ript.flow",),
    ("ript.models",),
    ("ript.results",),
    ("ript.algos.policies",),
    ("ript.env_runner",),
    ("ript.storage",),
    ("ript.demonstrations",),
    ("ript.simulators",),
    ("ript.env_runner.pi0_libero_runner",),
    ("ript.algos.advantages", "ript.algos.losses", "ript.algos.reward_functions"),
    ("ript.training.weight_average", "ript.training.schedule"),
    ("ript.training.learner",),
    ("ript.algos.rl_optimizers",),
    ("ript.cluster",),
    ("ript.policy_options",),
    ("ript.convert", "ript.demonstrations.collect", "ript.evaluation", "ript.report", "ript.serve", "ript.estimate"),
    ("ript.doctor",),
    ("ript.training",),
)
"""From low to high. A module belongs to the longest prefix of its name, and imports from there and from below only."""

KNOW_A_SIMULATOR = {
    "ript/env_runner/pi0_libero_runner.py": "the runner with LIBERO put in; its path is known to users",
    "ript/env_runner/pi0_runner_utils.py": "LIBERO's adapter; its path is known to users",
    "ript/models/pi0/export.py": "openpi's name of the folder of statistics",
}
"""Files outside a simulator's folder that say its name in code, and why."""


def modules() -> dict[str, Path]:
    """Every module's name and file."""
    files = (ROOT / "ript").rglob("*.py")
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


MODULES = modules()


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of ours that the code imports, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            submodules = [name for alias in node.names if (name := f"{node.module}.{alias.name}") in MODULES]
            yield from submodules or [node.module]


IMPORTS = {name: set(imports(ast.parse(path.read_text()))) for name, path in MODULES.items()}


def place(module: str) -> tuple[int, str]:
    """Number of the layer and the prefix in it."""
    found = [
        (len(prefix), number, prefix)
        for number, layer in enumerate(LAYERS)
        for prefix in layer
        if f"{module}.".startswith(f"{prefix}.")
    ]
    assert found, f"{module} is in no layer"
    return max(found)[1:]


def upward(edges: dict[str, set[str]]) -> list[str]:
    """Imports that do not go down, `importer -> imported`."""
    inside = {"ript", "ript.algos"}  # packages over several layers, which hold nothing themselves
    wrong = []
    for module in edges.keys() - inside:
        (number, prefix) = place(module)
        for other in edges[module]:
            if place(other)[0] >= number and place(other)[1] != prefix:
                wrong.append(f"{module} -> {other}")
    return sorted(wrong)


def code_of(path: Path) -> str:
    """The code in lower case, without comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                kept = [s for s in statements if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                setattr(node, field, kept)
    return ast.unparse(tree).lower()


def knowing_files(name: str) -> set[str]:
    """Files that say the simulator's name in code, outside its folder."""
    own = MODULES[f"ript.simulators.{name}"].parent
    outside = (path for path in MODULES.values() if own not in path.parents)
    return {str(path.relative_to(ROOT)) for path in outside if name in code_of(path)}


def packages(nodes: Iterable[ast.AST]) -> set[str]:
    """The packages that import statements among the nodes name."""
    named = []
    for node in nodes:
        named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return {name.partition(".")[0] for name in named}


def test_no_import_goes_up() -> None:
    assert upward(IMPORTS) == []


def test_ray_is_imported_by_its_own_room_alone_and_that_room_only_where_it_is_asked_for() -> None:
    trees = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
    importers = {name for name, tree in trees.items() if "ray" in packages(ast.walk(tree))}
    assert importers and all(name.startswith("ript.cluster.") for name in importers)
    knowing = {name for name in trees if any(other.startswith("ript.cluster.") for other in IMPORTS[name])}
    assert {name for name in knowing if not name.startswith("ript.cluster")} == {"ript.training.build"}
    top = [node for node in trees["ript.training.build"].body if isinstance(node, ast.ImportFrom)]
    at_the_top = imports(ast.Module(top, []))
    assert not [name for name in at_the_top if name.startswith("ript.cluster")]


def test_no_import_goes_round() -> None:
    tuple(TopologicalSorter(IMPORTS).static_order())


def test_imports_up_and_round_are_found() -> None:
    assert upward({"ript.models.pi0.config": {"ript.training.loop"}}) == [
        "ript.models.pi0.config -> ript.training.loop"
    ]
    assert upward({"ript.evaluation.films": {"ript.report.run_page"}})
    with pytest.raises(CycleError):
        tuple(TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())


def test_only_a_simulators_folder_knows_its_name() -> None:
    names = [module.name for module in pkgutil.iter_modules(ript.simulators.__path__) if module.ispkg]
    assert names
    assert set().union(*map(knowing_files, names)) == set(KNOW_A_SIMULATOR)


def test_the_environment_does_not_know_the_policys_class() -> None:
    known = {other for name in IMPORTS if name.startswith("ript.env_runner") for other in IMPORTS[name]}
    assert not [name for name in known if name.startswith("ript.algos")]

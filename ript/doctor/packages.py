"""Versions of Python and of the packages, against what the project asks for and what it was tested with."""

import importlib
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from ript.doctor.finding import Finding, note, ok, problem
from ript.doctor.options import Options
from ript.simulators.registry import simulators

DISTRIBUTION = "ript-pi0"
CONSTRAINTS = Path(__file__).parents[2] / "scripts" / "constraints.txt"
"""The versions that everything was tested with; a wheel has no such file."""
SET_UP = "bash scripts/setup.sh"
INSTALL = "python -m pip install -c scripts/constraints.txt -e ."
"""Set-up returns at once where it was done already; this does not."""
_LOADED = ("torch", "transformers")
"""Large ones with libraries of their own, which may be there and not load."""
_TOOLS = {"dev"}
"""Extras that no run needs."""


def check(options: Options) -> Iterator[Finding]:
    """One finding per required package, one per extra, one on what differs from the tested versions."""
    try:
        about = metadata(DISTRIBUTION)
    except PackageNotFoundError:
        yield problem(DISTRIBUTION, "is not installed in this Python", SET_UP)
        return
    yield check_python(about["Requires-Python"])
    requirements = [Requirement(line) for line in about.get_all("Requires-Dist") or []]
    always = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in always:
        yield check_requirement(requirement)
    for extra in sorted(set(about.get_all("Provides-Extra") or []) - _TOOLS):
        added = [r for r in requirements if r not in always and r.marker and r.marker.evaluate({"extra": extra})]
        yield check_extra(extra, added)
    wanted = [r.name for r in always] + [name for folder in simulators().values() for name in folder.PACKAGES]
    if CONSTRAINTS.is_file():
        yield compare(wanted, read_constraints(CONSTRAINTS))
    yield from filter(None, map(check_import, _LOADED))


def check_python(wanted: str) -> Finding:
    """The interpreter against `Requires-Python`."""
    have = platform.python_version()
    if SpecifierSet(wanted).contains(have, prereleases=True):
        return ok("Python", have, version=have)
    return problem("Python", f"{have}, but {wanted} is needed", f"install it, then {SET_UP}", version=have)


def check_requirement(requirement: Requirement) -> Finding:
    """An installed version against the range in setup.py."""
    have = installed(requirement.name)
    if have is None:
        return problem(requirement.name, "is not installed", INSTALL)
    if not requirement.specifier.contains(have, prereleases=True):
        text = f"{have}, but setup.py asks for {requirement.specifier}"
        return problem(requirement.name, text, INSTALL, version=have)
    return ok(requirement.name, have, version=have)


def check_extra(extra: str, requirements: list[Requirement]) -> Finding:
    """Packages that some features need; without them a run is possible."""
    missing = [r.name for r in requirements if installed(r.name) is None]
    if missing:
        text = f"optional, not installed: {', '.join(missing)}"
        return note(f"[{extra}]", text, install_extra(extra), missing=missing)
    wrong = [found for found in map(check_requirement, requirements) if found.level != "ok"]
    if wrong:
        text = "; ".join(f"{found.subject} {found.text}" for found in wrong)
        return note(f"[{extra}]", text, install_extra(extra))
    return ok(f"[{extra}]", ", ".join(f"{r.name} {installed(r.name)}" for r in requirements))


def install_extra(extra: str) -> str:
    """The command that installs it."""
    return f"{INSTALL[:-1]}'.[{extra}]'"


def extra_of(package: str) -> str | None:
    """The extra that brings a package; None where the project always needs it, or nothing brings it."""
    for line in metadata(DISTRIBUTION).get_all("Requires-Dist") or []:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) != canonicalize_name(package) or requirement.marker is None:
            continue
        extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
        return next((e for e in extras if requirement.marker.evaluate({"extra": e})), None)
    return None


def compare(names: list[str], tested: Mapping[str, str]) -> Finding:
    """Installed versions against the tested ones; a build's label (`+cpu`) does not count."""
    have = {name: installed(name) for name in dict.fromkeys(map(canonicalize_name, names))}
    other = {
        name: (found, tested[name])
        for name, found in have.items()
        if found is not None and name in tested and Version(found).public != Version(tested[name]).public
    }
    if not other:
        return ok("tested versions", f"all of {len(have)} packages are as tested")
    text = ", ".join(f"{name} {found} (tested: {wanted})" for name, (found, wanted) in other.items())
    return note("tested versions", text, INSTALL, differing=sorted(other))


def read_constraints(path: Path) -> dict[str, str]:
    """Canonical name → version."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): wanted for name, wanted in pairs}


def check_import(module: str) -> Finding | None:
    """None where the module loads, or is not there at all, which is said elsewhere."""
    if installed(module) is None:
        return None
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        again = f"python -m pip install --force-reinstall --no-deps -c scripts/constraints.txt {module}"
        return problem(module, f"cannot be imported: {one_line(error)}", again)
    return None


def installed(name: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def one_line(error: BaseException) -> str:
    """The last line of an error's message, which says what happened where the rest is a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

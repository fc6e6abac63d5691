"""Two Ray nodes on one machine, each in a network namespace of its own, with a cable between them."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

TESTS = Path(__file__).parent
PORT = 6379
SHORT_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}
"""How soon Ray takes a node for dead: its port refuses three times in a row, or one that answers is 10 s late."""


@dataclass(frozen=True)
class Node:
    """A network namespace that is a node of Ray's."""

    name: str
    """Of the namespace."""
    ip: str

    def command(self, *words: str | Path) -> list[str]:
        """The command, run in the namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def start_ray(self, environ: Mapping[str, str], *options: str) -> None:
        """Returns when the node is up. Ray gives up after 30 s, which a busy machine may need: it has three tries."""
        ray = Path(sys.executable).parent / "ray"
        own = ("--node-ip-address", self.ip, "--disable-usage-stats", "--object-store-memory=100000000")
        for _ in range(3):
            command = self.command(ray, "start", *own, *options)
            done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
            if done.returncode == 0:
                return
            self.kill()
        raise AssertionError(done.stdout.decode())

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Those in the namespace whose command line has the word."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, check=True).stdout.split()
        found = []
        for pid in map(int, pids):
            try:
                process = psutil.Process(pid)
                found += [process] if word in " ".join(process.cmdline()) else []
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self, word: str = "") -> list[psutil.Process]:
        """`kill -9` of its processes whose command line has the word; those that it killed."""
        found = self.processes(word)
        for process in found:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(found, timeout=20)
        return found

    def unplug(self) -> None:
        """Its cable carries nothing any more, and nobody is told."""
        _ip("-n", self.name, "link", "set", f"v{self.name}", "down")

    def wait_for(self, word: str, seconds: float = 180) -> psutil.Process:
        """The first process whose command line has the word."""
        deadline = time.monotonic() + seconds
        while not (found := self.processes(word)):
            assert time.monotonic() < deadline, f"no {word} in {self.name} after {seconds:g} s"
            time.sleep(0.02)
        return found[0]


@contextmanager
def two_nodes(*options: Sequence[str]) -> Iterator[tuple[Node, Node, dict[str, str]]]:
    """`(head, other, environment)` of a cluster whose nodes are started with these options of `ray start`.

    In the end nothing is left of it. Commands that join it need the environment.
    """
    # A short path: sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="ray") as folder, _namespaces() as (head, other):
        environ = {**os.environ, **SHORT_CHECKS, "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "token"}
        environ["RAY_AUTH_TOKEN"] = os.urandom(32).hex()
        environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, [environ.get("PYTHONPATH")])])
        head.start_ray(
            environ, "--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder}", *options[0]
        )
        other.start_ray(environ, f"--address={head.ip}:{PORT}", *options[1])
        yield head, other, environ


@contextmanager
def _namespaces() -> Iterator[tuple[Node, Node]]:
    ends = [Node(f"ript{os.getpid()}{letter}", f"10.213.7.{i}") for i, letter in enumerate("ab", start=1)]
    cables = [f"v{end.name}" for end in ends]
    try:
        for end in ends:
            _ip("netns", "add", end.name)
        _ip("link", "add", cables[0], "netns", ends[0].name, "type", "veth", "peer", cables[1], "netns", ends[1].name)
        for end, cable in zip(ends, cables, strict=True):
            _ip("-n", end.name, "address", "add", f"{end.ip}/24", "dev", cable)
            _ip("-n", end.name, "link", "set", "lo", "up")
            _ip("-n", end.name, "link", "set", cable, "up")
            _ip("-n", end.name, "route", "add", "default", "dev", cable)  # Ray asks which address leads outside
        yield ends[0], ends[1]
    finally:
        for end in ends:
            _remove(end)


def _remove(node: Node) -> None:
    """What a process starts while others are killed is found in the next round."""
    if not Path("/run/netns", node.name).exists():
        return
    while node.kill():
        continue
    _ip("netns", "delete", node.name)  # with its end of the cable


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def refused() -> str | None:
    """Why there can be no namespaces here."""
    name = f"ript{os.getpid()}probe"
    try:
        _ip("netns", "add", name)
    except FileNotFoundError:
        return "needs the command ip"
    except subprocess.CalledProcessError as error:
        return f"needs network namespaces: {error.stderr.decode().strip()}"
    _ip("netns", "delete", name)
    return None

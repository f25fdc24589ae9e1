"""The peers' processes: started, asked, watched, ended."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peer_environments import FOLDER, interpreter

HERE = Path(__file__).parent
MOST_START = 60  # seconds of processor time to the first gradient
MOST_CALL = 2.0  # seconds of one call
MOST_ANSWER = 600.0


class PeerError(Exception):
    """A peer cannot do a workload, with the reason."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer: see peer.py for the lines it understands."""

    name: str
    process: subprocess.Popen[bytes]
    start: float
    facts: Mapping[str, Any]
    entries: tuple[str, ...]

    def ask(self, *words: object) -> Any:
        """Its answer to a line. Raises PeerError where it ends or is silent for too long."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(("\t".join(map(str, words)) + "\n").encode())
            self.process.stdin.flush()
            line = read_line(self.process, MOST_ANSWER)
        except BrokenPipeError:
            line = b""
        if not line:
            raise PeerError(f"it ended while it was asked for {words[0]}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """A line of its output; empty where it ended. Raises PeerError after so many seconds."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        process.kill()
        process.wait()
        raise PeerError(f"no answer within {seconds:.0f} s")
    return process.stdout.readline()


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What it says once it has its first gradient. Raises PeerError where that takes too long.

    It is watched from outside: a limit that the system keeps (RLIMIT_CPU) makes the clock of
    processor time coarse, which measures the calls.
    """
    assert process.stdout is not None
    while not select.select([process.stdout], [], [], 1.0)[0]:
        if processor_time(process.pid) > MOST_START:
            process.kill()
            process.wait()
            raise PeerError(f"no gradient within {MOST_START} s of processor time")
    return process.stdout.readline()


def processor_time(pid: int) -> float:
    """Seconds of a process and of those that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def start_peer(framework: str, name: str, case: str, folder: Path) -> Peer:
    """Start a peer's process and wait for its first gradient.

    Everything that frameworks keep between runs is kept in `folder`. Raises PeerError.
    """
    python = interpreter(framework)
    if python is None:
        raise PeerError("not installed (python benchmarks/suite.py --setup)")
    script = [python, str(HERE / "peer.py"), framework, name, case, str(folder)]
    log = folder / f"{framework}.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            script,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(folder),
        )
    line = first_line(process)
    answer: dict[str, Any] = json.loads(line) if line else {"missing": last_line(log)}
    if "missing" in answer:
        process.kill()
        process.wait()
        raise PeerError(answer["missing"])
    return Peer(framework, process, answer["start"], answer["facts"], tuple(answer["entries"]))


def environment(folder: Path) -> dict[str, str]:
    """What makes frameworks keep their caches in `folder`, and this process's variables.

    PyTensor and torch, which compile for long, keep theirs from one run of the suite to the next.
    Python keeps compiled modules, as it does unless told otherwise: a start does not compile them.
    """
    kept = FOLDER / "caches"
    own = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {
        **own,
        "XDG_CACHE_HOME": str(folder),
        "GRADC_CACHE": f"{folder}/gradc",
        "HOME": str(folder),
        "PYTENSOR_FLAGS": f"base_compiledir={kept}/pytensor",
        "NUMBA_CACHE_DIR": f"{kept}/numba",
        "TORCHINDUCTOR_CACHE_DIR": f"{kept}/inductor",
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def last_line(path: Path) -> str:
    lines = path.read_text().splitlines()
    return lines[-1][:200] if lines else "it ended without a word"


def fetch(peer: Peer, entry: str, folder: Path) -> list[np.ndarray[Any, Any]]:
    """An entry's results."""
    file = folder / "result.npz"
    peer.ask("result", entry, file)
    with np.load(file) as stored:
        return [stored[f"arr_{i}"].astype(np.float64) for i in range(len(stored))]


def distance(expected: Sequence[Any], found: Sequence[Any]) -> float:
    """The largest difference relative to each result's largest entry; infinite if shapes differ."""
    if [a.size for a in expected] != [b.size for b in found]:
        return float("inf")
    pairs = zip(expected, found, strict=True)
    apart = [
        float(np.max(np.abs(a - b.reshape(a.shape)), initial=0))
        / max(float(np.max(np.abs(a), initial=0)), 1e-300)
        for a, b in pairs
    ]
    return float("inf") if any(np.isnan(apart)) else max(apart, default=0.0)

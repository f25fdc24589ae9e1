"""Time gradc's gradients beside those of other frameworks and of hand-written C++.

    python benchmarks/suite.py --setup              make the peers' virtual environments
    python benchmarks/suite.py [--quick] [NAME ...] run workloads (all), write results/*.json
    options: --peers jax,torch  --rounds 20  --no-start (skip the times of process starts)

All on one core, each peer in a process of its own. Results must agree first. Then the peers take
turns, in many short rounds; the best and the median of each are kept. `report.py` makes tables and
the picture from the results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import pin_to_one_core
from peer_environments import install, interpreter
from workloads import NAMES, workload
from workloads.workload import Workload

HERE = Path(__file__).parent
FRAMEWORKS = ("gradc", "cpp", "numpy", "jax", "pytensor", "casadi", "torch")
STARTED_AGAIN = ("gradc", "jax")  # their starts with warm caches are measured, too
BURST = 0.004  # seconds that one measurement lasts at least: about a scheduler's slice
LONG = 0.05  # seconds; what takes longer is called once a round
ROUND = 3  # bursts of an entry in a round


class PeerError(Exception):
    """A peer cannot do a workload, with the reason."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer: see peer.py for the lines it understands."""

    name: str
    process: subprocess.Popen[str]
    start: float
    facts: Mapping[str, Any]
    entries: tuple[str, ...]

    def ask(self, *words: object) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(*words, sep="\t", file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(f"{self.name} ended while it was asked for {words[0]}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def start_peer(framework: str, name: str, case: str, folder: Path) -> Peer:
    """Start a peer's process and wait for its first gradient.

    Everything that frameworks keep between runs is kept in `folder`. Raises PeerError.
    """
    python = interpreter(framework)
    if python is None:
        raise PeerError("not installed (python benchmarks/suite.py --setup)")
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(folder),
        "GRADC_CACHE": f"{folder}/gradc",
        "HOME": str(folder),
        "PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor",
        "NUMBA_CACHE_DIR": f"{folder}/numba",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    script = [python, str(HERE / "peer.py"), framework, name, case, str(folder), str(time.time())]
    log = (folder / f"{framework}.log").open("a")
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        script, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    answer: dict[str, Any] = (
        json.loads(line) if line else {"missing": last_line(folder / f"{framework}.log")}
    )
    if "missing" in answer:
        process.kill()
        process.wait()
        raise PeerError(answer["missing"])
    entries = tuple(answer["entries"])
    return Peer(framework, process, answer["start"], answer["facts"], entries)


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
    return max(
        float(np.max(np.abs(a - b.reshape(a.shape)), initial=0))
        / max(float(np.max(np.abs(a), initial=0)), 1e-300)
        for a, b in pairs
    )


def check_results(peers: Sequence[Peer], tolerance: float, folder: Path) -> dict[str, float]:
    """How far each entry is from the hand-written C++ (or else the first peer).

    Peers that are further away than the tolerance, or fail, are named and not in the answer.
    """
    reference = next((peer for peer in peers if peer.name == "cpp"), peers[0])
    expected = fetch(reference, reference.entries[0], folder)
    apart: dict[str, float] = {}
    for peer in peers:
        for entry in peer.entries:
            if entry == "primal":
                continue
            try:
                away = distance(expected, fetch(peer, entry, folder))
            except PeerError as error:
                print(f"  {entry}: skipped: {error}")
                continue
            if away <= tolerance:
                apart[entry] = away
            else:
                print(f"  {entry}: WRONG: {away:.1e} away from {reference.name}")
    return apart


def time_round_robin(peers: Sequence[Peer], rounds: int) -> dict[str, list[float]]:
    """Seconds a call of each entry: all measurements, round by round."""
    entries = [(peer, entry) for peer in peers for entry in peer.entries]
    counts: dict[str, int] = {}
    once: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    for peer, entry in entries:
        first = min(peer.ask("time", entry, 1, 2))
        few = max(1, int(BURST / 4 / first))
        once[entry] = min(peer.ask("time", entry, few, 2))
        counts[entry], times[entry] = max(1, int(BURST / once[entry])), []
    for _ in range(rounds):
        for peer, entry in entries:
            repeats = ROUND if once[entry] < LONG else 1
            times[entry] += peer.ask("time", entry, counts[entry], repeats)
    return times


def later_starts(framework: str, name: str, case: str, folder: Path) -> dict[str, float]:
    """Process start to first gradient with what earlier runs have left.

    cached_start: the same program with warm caches; library_start: gradc's library is loaded.
    """
    library, aside = folder / "libmodel.so", folder / "aside.so"
    found: dict[str, float] = {}
    try:
        if library.exists():
            found["library_start"] = started_in(framework, name, case, folder)
            library.rename(aside)
        found["cached_start"] = started_in(framework, name, case, folder)
    except PeerError as error:
        print(f"  {framework}: a second start failed: {error}")
    return found


def started_in(framework: str, name: str, case: str, folder: Path) -> float:
    peer = start_peer(framework, name, case, folder)
    peer.close()
    return peer.start


def run_case(
    name: str, case: str, chosen: Workload, frameworks: Sequence[str], rounds: int, starts: bool
) -> dict[str, Any]:
    """Everything that is measured of one workload at one size."""
    sizes = chosen.cases[case]
    row: dict[str, Any] = {"workload": name, "title": chosen.title, "case": case, "entries": {}}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="gradc-suite-") as temporary:
        peers = []
        for framework in frameworks:
            folder = Path(temporary) / framework
            folder.mkdir()
            if framework not in ("gradc", "cpp") and framework not in chosen.peers:
                continue
            try:
                peers.append(start_peer(framework, name, case, folder))
            except PeerError as error:
                missing[framework] = str(error)
                print(f"  {framework}: skipped: {error}")
        apart = check_results(peers, chosen.tolerance(sizes), Path(temporary))
        for peer in [peer for peer in peers if peer.entries[0] not in apart]:
            missing[peer.name] = "its results differ, or it failed"
            peers.remove(peer)
            peer.close()
        times = time_round_robin(peers, rounds)
        for peer in peers:
            for entry in peer.entries:
                row["entries"][entry] = {
                    "best": min(times[entry]),
                    "median": statistics.median(times[entry]),
                    "apart": apart.get(entry),
                    **peer.ask("memory", entry),
                }
            first = row["entries"][peer.entries[0]]
            first.update(peer.facts, start=peer.start)
        for peer in peers:
            peer.close()
        for peer in peers:
            if starts and peer.name in STARTED_AGAIN:
                first = row["entries"][peer.entries[0]]
                first.update(later_starts(peer.name, name, case, Path(temporary) / peer.name))
    return {**row, "missing": missing}


def print_row(row: Mapping[str, Any]) -> None:
    """A case's measurements, a line for each entry."""
    entries = row["entries"]
    print(f"\n{row['title']}, {row['case']}")
    gradc = entries.get("gradc", {"best": float("nan")})["best"]
    for name, entry in entries.items():
        words = [f"  {name:<14}{show(entry['best']):>11}{show(entry['median']):>11}"]
        words.append(f"{entry['best'] / gradc:8.2f} x")
        if entry.get("start"):
            words.append(f"start {entry['start']:.2f} s")
        if entry.get("cached_start"):
            words.append(f"cached {entry['cached_start']:.2f} s")
        if entry.get("library_start"):
            words.append(f"library {entry['library_start']:.2f} s")
        if entry.get("compile"):
            words.append(f"compile {entry['compile']:.2f} s")
        print("  ".join(words), flush=True)


def show(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    return {"cpu": model or platform.processor(), "cores": str(os.cpu_count())}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    arguments.add_argument("--setup", action="store_true", help="make the virtual environments")
    arguments.add_argument("--quick", action="store_true", help="first sizes, few rounds")
    arguments.add_argument("--peers", default=",".join(FRAMEWORKS))
    arguments.add_argument("--rounds", type=int, default=0)
    arguments.add_argument("--no-start", action="store_true")
    options = arguments.parse_args()
    frameworks = [x for x in FRAMEWORKS if x in options.peers.split(",")]
    if options.setup:
        install(x for x in frameworks if x not in ("gradc", "cpp"))
        return
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        raise SystemExit(f"no workload {unknown[0]!r}; there are {', '.join(NAMES)}")
    pin_to_one_core()
    rounds = options.rounds or (5 if options.quick else 20)
    for name in options.names or NAMES:
        chosen = workload(name)
        cases = list(chosen.cases)[: 1 if options.quick else None]
        starts = not (options.quick or options.no_start)
        rows = []
        for case in cases:
            rows.append(run_case(name, case, chosen, frameworks, rounds, starts))
            print_row(rows[-1])
        if not options.quick:
            result = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "rows": rows}
            file = HERE / "results" / f"{name}.json"
            file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

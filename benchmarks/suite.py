"""Time gradc's gradients beside those of other frameworks and of hand-written C++.

    python benchmarks/suite.py --setup              make the peers' virtual environments
    python benchmarks/suite.py [--quick] [NAME ...] run workloads (all), write results/*.json
    options: --peers jax,torch  --rounds 20  --no-start (skip the times of process starts)
             --add: put only these peers into the results that are there

All on one core, each peer in a process of its own. Results must agree first. Then the peers take
turns, in many short rounds; the best and the median of each are kept. `report.py` makes tables and
the picture from the results. Exit status: 1 where a result is wrong, or gradc failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import pin_to_one_core
from peer_environments import install
from processes import MOST_CALL, Peer, PeerError, distance, fetch, start_peer
from report import geometric_mean, gradient_over_primal, ratio, show
from starts import measure_starts
from workloads import NAMES, workload
from workloads.workload import Workload

HERE = Path(__file__).parent
FRAMEWORKS = ("gradc", "cpp", "numpy", "jax", "pytensor", "casadi", "torch")
OURS = ("gradc", "cpp", "floor")  # need no environment of their own
BURST = 0.004  # seconds that one measurement lasts at least: about a scheduler's slice
LEAST = 1e-9  # seconds; a clock's step may be longer than a call
LONG = 0.05  # seconds; what takes longer is called once a round
ROUND = 3  # bursts of an entry in a round
WRONG = "WRONG: its results differ"


@contextmanager
def started(
    frameworks: Sequence[str], name: str, case: str, folder: Path, missing: dict[str, str]
) -> Iterator[list[Peer]]:
    """The peers that could be started, all ended afterwards; `missing` gets the others' reasons."""
    peers: list[Peer] = []
    try:
        for framework in frameworks:
            (folder / framework).mkdir()
            try:
                peers.append(start_peer(framework, name, case, folder / framework))
            except PeerError as error:
                missing[framework] = str(error)
        yield peers
    finally:
        for peer in peers:
            peer.close()


def check_results(
    peers: Sequence[Peer], tolerance: float, folder: Path, missing: dict[str, str]
) -> dict[str, float]:
    """How far each entry is from the hand-written C++ (or else the first peer).

    Peers whose first entry is further away than the tolerance, or fails, are not in the answer:
    `missing` says why.
    """
    if not peers:
        return {}
    reference = next((peer for peer in peers if peer.name == "cpp"), peers[0])
    expected = fetch(reference, reference.entries[0], folder)
    apart: dict[str, float] = {}
    for peer in peers:
        for entry in peer.entries:
            if entry == "primal" or peer.name == "floor":
                continue
            try:
                away = distance(expected, fetch(peer, entry, folder))
            except PeerError as error:
                missing[peer.name] = str(error)
                continue
            if away <= tolerance:
                apart[entry] = away
            else:
                missing[peer.name] = f"{WRONG} by {away:.1e} from {reference.name}'s"
    return apart


def time_round_robin(
    peers: Sequence[Peer], rounds: int, missing: dict[str, str]
) -> dict[str, list[float]]:
    """Seconds a call of each entry: all measurements, round by round."""
    entries = [(peer, entry) for peer in peers for entry in peer.entries]
    counts: dict[str, int] = {}
    once: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    for peer, entry in entries:
        first = min(peer.ask("time", entry, 1, 2))
        if first > MOST_CALL and peer.name not in OURS:
            missing[peer.name] = f"a call takes {first:.1f} s"
            continue
        few = int(BURST / 4 / max(first, LEAST)) + 1
        once[entry] = max(min(peer.ask("time", entry, few, 2)), LEAST)
        counts[entry], times[entry] = max(1, int(BURST / once[entry])), []
    for _ in range(rounds):
        for peer, entry in entries:
            if entry in times:
                repeats = ROUND if once[entry] < LONG else 1
                times[entry] += peer.ask("time", entry, counts[entry], repeats)
    return times


def measure(peer: Peer, times: Mapping[str, list[float]], apart: Mapping[str, float]) -> Any:
    """The measurements of a peer's entries, by entry."""
    found: dict[str, dict[str, Any]] = {
        entry: {
            "best": min(times[entry]),
            "median": statistics.median(times[entry]),
            "apart": apart.get(entry),
            **peer.ask("memory", entry),
        }
        for entry in peer.entries
        if entry in times
    }
    if peer.entries[0] in found:
        found[peer.entries[0]].update(peer.facts, start=peer.start)
    return found


def run_case(
    name: str, case: str, chosen: Workload, frameworks: Sequence[str], rounds: int, starts: bool
) -> dict[str, Any]:
    """Everything that is measured of one workload at one size."""
    sizes = chosen.cases[case]
    missing = {k: v for k, v in chosen.absent(sizes).items() if k in frameworks}
    able = [x for x in frameworks if x in OURS or (x in chosen.peers and x not in missing)]
    if chosen.floor is not None:
        able.append("floor")
    row: dict[str, Any] = {"workload": name, "title": chosen.title, "case": case, "entries": {}}
    with tempfile.TemporaryDirectory(prefix="gradc-suite-") as temporary:
        folder = Path(temporary)
        with started(able, name, case, folder, missing) as peers:
            apart = check_results(peers, chosen.tolerance(sizes), folder, missing)
            right = [x for x in peers if x.name not in missing]
            times = time_round_robin(right, rounds, missing)
            for peer in right:
                row["entries"].update(measure(peer, times, apart))
            running = [peer.name for peer in right]
        if starts:
            measure_starts(name, case, running, folder, row["entries"])
    return {**row, "missing": missing}


def print_row(row: Mapping[str, Any]) -> None:
    """A case's measurements, a line for each entry."""
    entries = row["entries"]
    print(f"\n{row['title']}, {row['case']}")
    gradc = entries.get("gradc", {"best": float("nan")})["best"]
    for name, entry in entries.items():
        words = [f"  {name:<14}{show(entry['best']):>11}{show(entry['median']):>11}"]
        words.append(f"{entry['best'] / gradc:8.2f} x")
        for key in ("start", "cached_start", "library_start", "language_start", "compile"):
            if entry.get(key):
                words.append(f"{key.replace('_start', '')} {show(entry[key])}")
        print("  ".join(words), flush=True)
    for name, reason in row["missing"].items():
        print(f"  {name}: {reason}", flush=True)


def print_means(rows: Sequence[Mapping[str, Any]]) -> None:
    """Geometric means over the rows."""
    against = geometric_mean(ratio(row, "gradc from C", "C++") for row in rows)
    primal = geometric_mean(gradient_over_primal(row) for row in rows)
    print(f"\ngeometric means: gradc from C / C++ {against:.2f}, gradient / primal {primal:.2f}")


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    return {"cpu": model or platform.processor(), "cores": str(os.cpu_count())}


def run_workload(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All cases of a workload; writes its results unless the run is a quick one."""
    chosen = workload(name)
    frameworks = [x for x in FRAMEWORKS if x in options.peers.split(",")]
    rounds = options.rounds or (5 if options.quick else 20)
    rows = []
    for case in list(chosen.cases)[: 1 if options.quick else None]:
        starts = not (options.quick or options.no_start)
        rows.append(run_case(name, case, chosen, frameworks, rounds, starts))
        print_row(rows[-1])
    if not options.quick:
        load = f"{os.getloadavg()[0]:.1f}"
        result = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "load": load}
        file = options.results / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        if options.add and file.exists():
            result = json.loads(file.read_text())
            rows = [joined(row, rows, frameworks) for row in result["rows"]]
        file.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")
    return rows


def joined(
    row: dict[str, Any], others: Sequence[Mapping[str, Any]], peers: Sequence[str]
) -> dict[str, Any]:
    """A row with the entries, and the reasons for missing ones, that another run has of peers."""
    other = next((x for x in others if x["case"] == row["case"]), None)
    if other is None:
        return row
    added = [name for name in peers if name not in OURS]
    parts = {}
    for key in ("entries", "missing"):
        kept = {k: v for k, v in row[key].items() if k not in added}
        parts[key] = {**kept, **{k: v for k, v in other[key].items() if k in added}}
    return {**row, **parts}


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must not be: wrong results of anyone, and a gradc or C++ that failed."""
    return [
        f"{row['title']}, {row['case']}: {name}: {reason}"
        for row in rows
        for name, reason in row["missing"].items()
        if reason.startswith(WRONG) or name in OURS
    ]


def end_in_order() -> None:
    """A signal to end leaves neither peers nor temporary folders behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    arguments.add_argument("--setup", action="store_true", help="make the virtual environments")
    arguments.add_argument("--quick", action="store_true", help="first sizes, few rounds")
    arguments.add_argument("--peers", default=",".join(FRAMEWORKS))
    arguments.add_argument("--rounds", type=int, default=0)
    arguments.add_argument("--no-start", action="store_true")
    arguments.add_argument("--add", action="store_true")
    arguments.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER")
    options = arguments.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        raise SystemExit(f"no workload {unknown[0]!r}; there are {', '.join(NAMES)}")
    if options.setup:
        chosen = [x for x in FRAMEWORKS if x in options.peers.split(",")]
        return 0 if install(x for x in chosen if x not in OURS) else 1
    end_in_order()
    pin_to_one_core()
    rows = [row for name in options.names or NAMES for row in run_workload(name, options)]
    print_means(rows)
    failed = failures(rows)
    for line in failed:
        print(line)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

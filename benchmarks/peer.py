"""A peer's process: prepares one gradient, then obeys lines on its standard input.

    python peer.py FRAMEWORK WORKLOAD CASE FOLDER

The first line of the answer is a JSON object {"start", "facts", "entries"}, or {"missing": why};
start: the processor time from the process's start to its first gradient. Then, a line in, a line of
JSON out:
    time ENTRY COUNT REPEATS  the seconds of a call, REPEATS times, each the mean of COUNT calls
    result ENTRY FILE         the results' arrays, as a NumPy file
    memory ENTRY              peak resident bytes during one call, and those resident before it
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.update(JAX_ENABLE_X64="1", JAX_PLATFORMS="cpu")
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import numpy as np  # noqa: E402
from frameworks import Entry, flat, prepare, spent  # noqa: E402
from workloads import workload  # noqa: E402


def resident(name: str) -> int:
    """VmRSS or VmHWM of this process in bytes, 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = (line.split() for line in status.read_text().splitlines())
    return next((1024 * int(line[1]) for line in lines if line[0] == f"{name}:"), 0)


def memory(entry: Entry) -> dict[str, int]:
    entry.run(1)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    entry.run(1)
    return {"peak": resident("VmHWM"), "before": before}


def answer(entries: dict[str, Entry], words: list[str]) -> Any:
    command, entry, *rest = words
    if command == "time":
        count, repeats = int(rest[0]), int(rest[1])
        return [entries[entry].run(count) / count for _ in range(repeats)]
    if command == "result":
        np.savez(rest[0], *flat(entries[entry].result()))
        return True
    if command == "memory":
        return memory(entries[entry])
    raise ValueError(f"no command {command!r}")


def main() -> None:
    framework, name, case, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints must not mix with the answers

    def say(what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    chosen = workload(name)
    sizes = chosen.cases[case]
    begin = spent()
    inputs = chosen.data(sizes)
    data_seconds = spent() - begin
    os.chdir(folder)
    stages = prepare(framework, chosen, sizes, inputs, Path(folder))
    try:
        next(stages)
        start = spent() - data_seconds
        prepared = next(stages)
    except Exception as error:
        say({"missing": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
        raise
    say({"start": start, "facts": prepared.facts, "entries": list(prepared.entries)})
    for line in sys.stdin:
        say(answer(prepared.entries, line.rstrip("\n").split("\t")))


if __name__ == "__main__":
    main()

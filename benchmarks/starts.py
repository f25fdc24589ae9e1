"""Process start to first gradient: with empty caches, with warm ones, from a library, from C."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frameworks import spent
from processes import PeerError, environment, start_peer

STARTED_AGAIN = ("gradc", "jax")  # their starts with warm caches are measured, too
TIMES = 5


def measure_starts(
    name: str, case: str, running: Sequence[str], folder: Path, entries: dict[str, Any]
) -> None:
    """Add to the entries' measurements, in seconds of processor time:

    cached_start: the same program with the caches of the first run (gradc, JAX).
    library_start: gradc's built library is loaded. base_start: a program that imports NumPy and
    makes no gradient. language_start: from a `.grad` file with an empty cache, by `gradc run`.
    Of the entry "gradc from C", start: a C program that opens the library.
    """
    for framework in running:
        if framework not in STARTED_AGAIN or framework not in entries:
            continue
        entry, own = entries[framework], folder / framework
        try:
            if framework == "gradc":
                entry.update(_gradc(name, case, own, entries))
            entry["cached_start"] = min(_cached(framework, name, case, own) for _ in range(2))
        except (PeerError, subprocess.CalledProcessError) as error:
            entry["start_failure"] = str(error)


def _cached(framework: str, name: str, case: str, folder: Path) -> float:
    """Of the same program once more; the library that the peer builds must not be there."""
    (folder / "libmodel.so").unlink(missing_ok=True)
    return _best(framework, name, case, folder, 1)


def _best(framework: str, name: str, case: str, folder: Path, times: int) -> float:
    found = []
    for _ in range(times):
        peer = start_peer(framework, name, case, folder)
        peer.close()
        found.append(peer.start)
    return min(found)


def _gradc(name: str, case: str, folder: Path, entries: dict[str, Any]) -> dict[str, float]:
    """The starts with a built library, from C, and from a .grad file."""
    library = folder / "libmodel.so"
    found = {"base_start": _best("nothing", name, case, folder, 3)}
    found["library_start"] = _best("gradc", name, case, folder, 3)
    if "gradc from C" in entries:
        entries["gradc from C"]["start"] = _from_c(library, folder)
    model = folder / "model.grad"
    if model.exists():
        found["language_start"] = _from_language(model, folder)
    return found


def _from_c(library: Path, folder: Path) -> float:
    """Of a program that opens the library, maps its inputs and calls once; see peers/start.c."""
    program = folder / "start"
    source = Path(__file__).parent / "peers" / "start.c"
    subprocess.run(["gcc", "-O2", "-Wall", str(source), "-o", str(program), "-ldl"], check=True)
    found = []
    for _ in range(2 * TIMES):
        command = [str(program), str(library), str(folder / "call.bin")]
        found.append(float(subprocess.run(command, check=True, capture_output=True).stdout))
    return min(found)


def _from_language(model: Path, folder: Path) -> float:
    """Of `gradc run`, its inputs in NumPy files, nothing cached: the whole process."""
    inputs = sorted(folder.glob("input-*.npy"), key=lambda file: int(file.stem.split("-")[1]))
    words = [f"{file.stem.split('-', 2)[2]}=@{file}" for file in inputs]
    command = [sys.executable, "-m", "gradc", "run", str(model), "gradient"]
    command += [x for word in words for x in ("--arg", word)] + ["-o", str(folder / "first.npz")]
    variables = {**environment(folder), "GRADC_CACHE": "off"}
    found = []
    for _ in range(3):
        start = spent()
        subprocess.run(command, check=True, env=variables, capture_output=True)
        found.append(spent() - start)
    return min(found)

"""Tables and a picture from the results of the suite.

    python benchmarks/report.py          rewrite docs/performance.md between its markers
    python benchmarks/report.py --print  print the tables

Makes docs/performance.svg too.
Reads benchmarks/results/*.json, which `suite.py` writes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from floors import MEMORY, floor_of
from workloads import NAMES

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
PICTURE = HERE.parent / "docs" / "performance.svg"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PEERS = ("numpy", "jax", "pytensor", "casadi", "torch")
FAST_MATH = "gradc --fast-math from C"
BOUND = "gradc bound"
TITLES = {
    "numpy": "NumPy",
    "jax": "JAX",
    "pytensor": "PyTensor",
    "casadi": "CasADi",
    "torch": "torch",
}
Row = Mapping[str, Any]


def load_rows() -> tuple[list[Row], list[Mapping[str, str]]]:
    """All cases, in the order of the workloads, and the machines and dates."""
    rows: list[Row] = []
    machines: list[Mapping[str, str]] = []
    for name in NAMES:
        file = HERE / "results" / f"{name}.json"
        if not file.exists():
            continue
        found = json.loads(file.read_text())
        rows += found["rows"]
        about = {key: found[key] for key in ("date", "load") if key in found}
        machines.append({**found["machine"], **about})
    return rows, machines


def best(row: Row, entry: str) -> float | None:
    """The best time of an entry, in seconds."""
    found = row["entries"].get(entry)
    return float(found["best"]) if found else None


def ratio(row: Row, above: str, below: str) -> float | None:
    a, b = best(row, above), best(row, below)
    return a / b if a and b else None


def best_peer(row: Row) -> tuple[str, float] | None:
    """The fastest framework other than gradc."""
    times = [(name, best(row, name)) for name in PEERS]
    return min(((n, t) for n, t in times if t), key=lambda pair: pair[1], default=None)


def beside_best_peer(row: Row) -> float | None:
    """gradc's time as a multiple of the fastest framework's, called alike.

    CasADi is called through buffers that were bound before: beside it gradc's call is bound, too.
    """
    peer = best_peer(row)
    if peer is None:
        return None
    name, time = peer
    ours = best(row, BOUND if name == "casadi" else "gradc") or best(row, "gradc")
    return ours / time if ours else None


def geometric_mean(values: Iterable[float | None]) -> float:
    logs = [math.log(value) for value in values if value]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def show(seconds: float | None) -> str:
    """A time with three digits and its unit."""
    if seconds is None:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if seconds * scale >= 1 or unit == "ns":
            value = seconds * scale
            return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"
    return ""


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] + ["--:"] * (len(header) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def gradient_over_primal(row: Row) -> float | None:
    """What the gradient of a scalar costs beside the scalar; not for Jacobians and Hessians."""
    scalar = "gradient" in row["title"] and "Hessian" not in row["title"]
    return ratio(row, "gradc from C", "primal") if scalar else None


def label(row: Row) -> str:
    what = row["title"].removesuffix(", value and gradient")
    return f"{what}, {row['case']}"


def times_table(rows: Sequence[Row], notes: list[str]) -> str:
    """Best times, and the ratios of gradc to the C++ and to the best peer."""
    lines = []
    for row in rows:
        lines.append(
            [
                label(row),
                *(show(best(row, name)) for name in ("gradc", BOUND, "gradc from C")),
                show(best(row, "C++")),
                *(show(best(row, name)) or noted(row, name, notes) for name in PEERS),
                number(ratio(row, "gradc from C", "C++")),
                number(ratio(row, FAST_MATH, "C++")),
                number(beside_best_peer(row)),
            ]
        )
    names = ("gradc from C", FAST_MATH)
    means = [geometric_mean(ratio(row, name, "C++") for row in rows) for name in names]
    means.append(geometric_mean(map(beside_best_peer, rows)))
    blank = [""] * (4 + len(PEERS))
    lines.append(["geometric mean", *blank, *(f"**{mean:.2f}**" for mean in means)])
    header = ["gradient of", "gradc", BOUND, "gradc from C", "C++ by hand"]
    header += [TITLES[name] for name in PEERS]
    header += ["gradc from C / C++", "--fast-math / C++", "gradc / best peer"]
    if not any(best(row, FAST_MATH) for row in rows):  # results from before it was measured
        (header, *lines) = ([*line[:-2], line[-1]] for line in [header, *lines])
    return table(header, lines)


def noted(row: Row, name: str, notes: list[str]) -> str:
    """The number of the note that says why a cell is empty; a new note is added to `notes`."""
    reason = row["missing"].get(name, "not run")
    note = f"{TITLES[name]}: {reason}"
    if note not in notes:
        notes.append(note)
    return f"({notes.index(note) + 1})"


def starts_table(rows: Sequence[Row]) -> str:
    """From the start of a process to its first gradient."""
    lines = []
    for row in rows:
        gradc, jax = (row["entries"].get(name, {}) for name in ("gradc", "jax"))
        in_c = row["entries"].get("gradc from C", {})
        base, library = gradc.get("base_start"), gradc.get("library_start")
        lines.append(
            [
                label(row),
                *(show(gradc.get(key)) for key in ("language_start", "start", "cached_start")),
                *(show(jax.get(key)) for key in ("start", "cached_start")),
                show(library),
                beyond(library, base),
                show(in_c.get("start")),
            ]
        )
    header = ["", "`.grad` file, cold", "Python model, cold", "again", "JAX, cold", "again"]
    return table([*header, "built library", "of it beyond NumPy", "library, from C"], lines)


def beyond(time: float | None, base: float | None) -> str:
    """What a start takes beyond another one; nothing where that is not measured."""
    if not (time and base):
        return ""
    return show(time - base) if time > base else "none"


def other_table(rows: Sequence[Row]) -> str:
    """Gradient/primal ratio, seconds to compile, memory, size of the library."""
    lines = []
    for row in rows:
        entries = row["entries"]
        gradc = entries.get("gradc", {})
        size, work = gradc.get("bytes"), gradc.get("workspace")
        lines.append(
            [
                label(row),
                number(gradient_over_primal(row)),
                *(show(entries.get(name, {}).get("compile")) for name in ("gradc", "jax")),
                f"{size / 1e3:.0f} kB" if size else "",
                f"{work / 1e3:,.0f} kB" if work is not None else "",
                *(megabytes(entries.get(name, {})) for name in ("gradc", "C++", "jax")),
            ]
        )
    mean = geometric_mean(gradient_over_primal(row) for row in rows)
    lines.append(["geometric mean", f"**{mean:.2f}**", *[""] * 7])
    header = ["", "gradient / primal", "compile", "JAX", "library", "workspace"]
    return table([*header, "peak memory", "C++", "JAX"], lines)


def megabytes(entry: Mapping[str, Any]) -> str:
    return f"{entry['peak'] / 1e6:.0f} MB" if entry.get("peak") else ""


def floors_table(rows: Sequence[Row]) -> str:
    """How far rows are from what the machine cannot do faster."""
    lines = []
    for row in rows:
        times = {name: best(row, f"floor: {name}") for name in (*MEMORY, "arithmetic")}
        ours, in_c = best(row, "gradc from C"), best(row, "C++")
        if ours is None or in_c is None or not all(times.values()):
            continue
        known = {name: time for name, time in times.items() if time is not None}
        floor = floor_of(known)
        columns = [show(min(known[name] for name in MEMORY)), show(known["arithmetic"])]
        lines.append([label(row), *columns, show(ours), number(ours / floor), number(in_c / floor)])
    header = ["", "memory", "arithmetic", "gradc from C", "gradc / floor", "C++ / floor"]
    return table(header, lines)


def svg(rows: Sequence[Row]) -> str:
    """Times as multiples of gradc's on a logarithmic axis: the C++ and the peers, a line a row."""
    left, width, step, top = 430, 480, 22, 46
    colours = dict(
        zip(("C++", *PEERS), ("#222", "#999", "#d9730d", "#2a7", "#36c", "#b3c"), strict=True)
    )
    low, high = 0.03, 300.0

    def x(value: float) -> float:
        place = math.log(min(max(value, low), high) / low) / math.log(high / low)
        return left + width * place

    height = top + step * len(rows) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{left + width + 30}" height="{height}" fill="white"/>',
    ]
    for place, name in enumerate(colours):
        at = 20 + 100 * place
        parts.append(f'<circle cx="{at}" cy="16" r="5" fill="{colours[name]}"/>')
        parts.append(f'<text x="{at + 9}" y="20">{TITLES.get(name, "C++ by hand")}</text>')
    for tick in (0.1, 1, 10, 100):
        line = "#333" if tick == 1 else "#ddd"
        parts.append(
            f'<line x1="{x(tick):.0f}" x2="{x(tick):.0f}" y1="{top - 10}" '
            f'y2="{height - 30}" stroke="{line}"/>'
        )
        word = "gradc = 1" if tick == 1 else f"{tick:g} x"
        parts.append(
            f'<text x="{x(tick):.0f}" y="{height - 12}" text-anchor="middle">{word}</text>'
        )
    for i, row in enumerate(rows):
        y = top + step * i + 6
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{label(row)}</text>')
        for name, colour in colours.items():
            value = ratio(row, name, "gradc from C" if name == "C++" else "gradc")
            if value:
                parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" fill="{colour}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def text(rows: Sequence[Row], machines: Sequence[Mapping[str, str]]) -> str:
    """What stands between the markers."""
    dates = sorted({machine["date"] for machine in machines})
    cpus = ", ".join(sorted({machine["cpu"] for machine in machines}))
    loads = sorted(float(machine["load"]) for machine in machines if "load" in machine)
    busy = (
        f" Other programs shared it: load averages {loads[0]:.1f} to {loads[-1]:.1f}."
        if loads
        else ""
    )
    days = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    notes: list[str] = []
    times = times_table(rows, notes)
    return "\n\n".join(
        [
            f"Measured {days} on {cpus}, one core.{busy} "
            "Times are processor time, the best of many short rounds, a call of the whole "
            "gradient; ratios are of bests taken in the same rounds.",
            times,
            "\n".join(f"({i + 1}) {note}" + "  " for i, note in enumerate(notes)),
            "Beside the floors (see above):",
            floors_table(rows),
            "From the start of a process to its first gradient (processor time, too):",
            starts_table(rows),
            "What else it costs (peak memory: of the whole process during a call, with its data; "
            "gradc's process holds the compiler, too):",
            other_table(rows),
        ]
    )


def main() -> None:
    rows, machines = load_rows()
    if not rows:
        raise SystemExit("there are no results: run benchmarks/suite.py first")
    made = text(rows, machines)
    if "--print" in sys.argv[1:]:
        print(made)
        return
    PICTURE.write_text(svg(rows))
    page = PAGE.read_text() if PAGE.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{PAGE} has no lines {BEGIN} and {END}")
    before, rest = page.split(BEGIN, 1)
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END, 1)[1]}")


if __name__ == "__main__":
    main()

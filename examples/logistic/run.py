"""Build the model, fit it from Python and from C, and show what a newcomer wants to see.

python examples/logistic/run.py [--out DIRECTORY]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gradc
import numpy as np
from fit import DATA, L2, load_data, newton_cg

HERE = Path(__file__).parent


def build(directory: Path) -> Path:
    """Build the library with the command line, as a makefile would."""
    library = directory / "liblogistic.so"
    command = [sys.executable, "-m", "gradc", "build", str(HERE / "logistic.grad")]
    start = time.perf_counter()
    if subprocess.run([*command, "-o", str(library)]).returncode != 0:
        raise SystemExit("the library was not built: see above")
    print(f"build     {1e3 * (time.perf_counter() - start):.0f} ms, process start included")
    print(f"library   {library.name}, {library.stat().st_size:,} bytes")
    ldd = shutil.which("ldd")
    if ldd:
        found = subprocess.run([ldd, str(library)], capture_output=True, text=True).stdout
        print("ldd       " + "; ".join(line.strip() for line in found.splitlines()))
    return library


def fit_from_python(library: Path) -> np.ndarray:
    """The optimum, found with the library's gradient and Hessian-vector product."""
    model = gradc.load(library)
    X, y = load_data()
    print(f"data      {X.shape[0]} observations, {X.shape[1]} features (a column of ones included)")
    w = newton_cg(
        lambda w: model.loss_grad(w, X, y, L2),
        lambda w, p: model.loss_hvp(w, X, y, L2, p),
        np.zeros(X.shape[1]),
        report=lambda i, value, norm: print(f"  {i:3d}  loss {value:.15f}  gradient {norm:.1e}"),
    )
    print(f"accuracy  {np.mean((X @ w > 0) == (y > 0)):.4f}")
    check_against_numpy(model, w, X, y)
    return w


def check_against_numpy(model: Any, w: np.ndarray, X: np.ndarray, y: np.ndarray) -> None:
    """Compare value, gradient and Hessian-vector product with the formulas in NumPy."""
    z, p = X @ w, np.linspace(-1, 1, len(w))
    sigma = 1 / (1 + np.exp(-z))
    value = np.mean(np.logaddexp(0, z) - y * z) + 0.5 * L2 * np.sum(w**2)
    gradient = X.T @ (sigma - y) / len(y) + L2 * w
    product = X.T @ (sigma * (1 - sigma) * (X @ p)) / len(y) + L2 * p
    native = (*model.loss_grad(w, X, y, L2), model.loss_hvp(w, X, y, L2, p))
    formulas = (value, gradient, product)
    worst = max(np.max(np.abs(a - b)) for a, b in zip(native, formulas, strict=True))
    print(f"NumPy     agrees to {worst:.1e}")
    if worst > 1e-10:
        raise SystemExit("the library and the NumPy formulas disagree")


def fit_from_c(library: Path, directory: Path) -> np.ndarray | None:
    """The optimum printed by a C program that links the library; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("C         no C compiler (cc) on the PATH: skipped")
        return None
    program = directory / "fit"
    sources = [str(HERE / "fit.c"), f"-I{directory}", str(library), "-lm"]
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", f"-Wl,-rpath,{directory}"]
    subprocess.run([compiler, *flags, *sources, "-o", str(program)], check=True)
    printed = subprocess.run([program, DATA], check=True, capture_output=True, text=True).stdout
    lines = printed.splitlines()
    print("C         " + lines[0])
    return np.array([float(line) for line in lines[1:]])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, help="where to build (default: a temporary folder)")
    chosen = arguments.parse_args().out
    with tempfile.TemporaryDirectory() as temporary:
        directory = (chosen or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        library = build(directory)
        w = fit_from_python(library)
        from_c = fit_from_c(library, directory)
    if from_c is not None:
        apart = np.max(np.abs(w - from_c))
        print(f"optimum   Python and C agree to {apart:.1e}")
        if apart > 1e-10:
            raise SystemExit("the optima differ")
    print("w[:4]     " + "  ".join(f"{x:.12f}" for x in w[:4]))


if __name__ == "__main__":
    main()

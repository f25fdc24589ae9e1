"""The peers' virtual environments: .venv/peers/<framework>, made by `suite.py --setup`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".venv" / "peers"
PACKAGES = {
    "numpy": ("numpy", "scipy"),
    "jax": ("jax",),
    "pytensor": ("pytensor", "numba"),
    "casadi": ("casadi", "numpy"),
    "torch": ("torch", "numpy", "setuptools"),
}


def interpreter(framework: str) -> str | None:
    """The Python that runs a framework: this one for gradc and the C++; None if there is none."""
    python = FOLDER / framework / "bin" / "python"
    if framework in ("gradc", "cpp"):
        return sys.executable
    return str(python) if python.exists() else None


def install(frameworks: Iterable[str]) -> None:
    """Make what is missing; say what cannot be installed and go on."""
    for framework in frameworks:
        folder = FOLDER / framework
        print(f"{framework}: pip install {' '.join(PACKAGES[framework])}", flush=True)
        python = folder / "bin" / "python"
        commands = [
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", *PACKAGES[framework]],
        ]
        for command in commands:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                lines = (done.stderr or done.stdout).strip().splitlines()
                print(f"{framework}: cannot be installed, skipped: {lines[-1] if lines else ''}")
                python.unlink(missing_ok=True)
                break

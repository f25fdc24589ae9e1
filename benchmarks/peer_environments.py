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
    """The Python that runs a framework: this one for all without an environment of their own.

    None where the environment is not there.
    """
    python = FOLDER / framework / "bin" / "python"
    if framework not in PACKAGES:
        return sys.executable
    return str(python) if python.exists() else None


def install(frameworks: Iterable[str]) -> bool:
    """Make what is missing; say what cannot be installed and go on. Whether all is there."""
    is_whole = True
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
                is_whole = False
                break
    return is_whole

"""What holds for all tests."""

from __future__ import annotations

import os


def pytest_configure() -> None:
    """Tests compile what they test: nothing comes from the user's cache, or goes there."""
    os.environ["GRADC_CACHE"] = "off"

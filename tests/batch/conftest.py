"""What several tests of batches look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def forced(monkeypatch):
    """The files that were forced to the disk, in order, by the names that they had then."""
    files = []
    fsync = os.fsync

    def recorded(fd):
        files.append(Path(f"/dev/fd/{fd}").resolve())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", recorded)
    return files

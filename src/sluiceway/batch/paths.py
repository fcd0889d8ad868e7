"""Where a batch keeps what: the results file and those beside it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PARTS_LOG: Final = "parts.jsonl"
"""The file in the folder of parts that is there from the moment when something may be at the provider."""
_OTHERS: Final = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one batch; all stand beside the results and begin with their name.

    Attributes:
        results: one answer a line, in the order in which they came; also the journal.
        dead: what could not be answered, a line each.
        manifest: what the batch is made of, and what its runs did.
        lock: held by the run that writes.
        parts: what runs by way of the Batch API, until it is merged: a folder.
    """

    results: Path
    dead: Path
    manifest: Path
    lock: Path
    parts: Path

    @classmethod
    def of(cls, results: str | os.PathLike[str]) -> Paths:
        """Return the files that belong to *results*: ``answers.jsonl`` has ``answers.dead.jsonl`` and so on.

        A folder, or a path that ends in a slash, stands for ``results.jsonl`` in it.

        Raises:
            TypeError: *results* is no path.
            ValueError: it is empty, one of the files beside a results file, or there is something that is no file:
                answers would be gone in a device or a pipe.
        """
        if not isinstance(results, (str, os.PathLike)):
            raise TypeError(f"results={results!r} must be the path of a JSONL file")
        text = os.fspath(results)
        if not text:
            raise ValueError("results='' must be the path of a JSONL file")
        path = Path(text)
        if text.endswith(("/", os.sep)) or path.is_dir():
            path /= "results.jsonl"
        if path.name.endswith((".dead.jsonl", ".manifest.json", ".lock")):
            raise ValueError(f"results={text!r} stands beside a results file: give the results file itself")
        stem = path.name.removesuffix(".jsonl")
        found = cls(
            path,
            path.with_name(f"{stem}.dead.jsonl"),
            path.with_name(f"{stem}.manifest.json"),
            path.with_name(f"{stem}.lock"),
            path.with_name(f"{stem}.batch-api"),
        )
        for each in (found.results, found.dead, found.manifest):
            _require_file(each)
        return found


def _require_file(path: Path) -> None:
    """Refuse what is there and no file; a link is what it leads to."""
    if path.exists() and not path.is_file():
        mode = path.stat().st_mode
        what = next((name for is_one, name in _OTHERS if is_one(mode)), "a device")
        raise ValueError(f"{path} is {what}: results must be a file, or not be there yet")

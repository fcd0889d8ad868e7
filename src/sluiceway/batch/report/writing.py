"""Writing a report beside the results, or where it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sluiceway.batch.paths import Paths
from sluiceway.batch.report.gathered import gather
from sluiceway.batch.report.page import page

if TYPE_CHECKING:
    import os


def write_report(results: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of *results* and return where.

    Neither prompts nor answers nor messages of errors are in it, but the rows' ids, the models' names and the name of
    the source are.

    Args:
        results: the file of answers, or a folder with `results.jsonl` in it.
        output: None for ``answers.report.html`` beside ``answers.jsonl``.

    Raises:
        FileNotFoundError: there are no results.
        ValueError: a line is none that a batch writes.
        BatchError: the manifest is unreadable.
        MissingExtra: plotly is not installed.
    """
    paths = Paths.of(results)
    stem = paths.results.name.removesuffix(".jsonl")
    target = paths.results.with_name(f"{stem}.report.html") if output is None else Path(output)
    text = page(gather(paths), f"Batch {stem}")
    target.write_text(text, encoding="utf-8", errors="backslashreplace")  # an id may hold half of a surrogate pair
    return target

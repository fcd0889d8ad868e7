"""The files of a batch."""

from __future__ import annotations

import os

import pytest

from sluiceway.batch import Paths


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.symlink_to("/dev/full"), "a device"),
        (os.mkfifo, "a pipe"),
        (lambda path: path.mkdir(), "a folder"),
    ],
)
@pytest.mark.parametrize("name", ["results.jsonl", "results.dead.jsonl", "results.manifest.json"])
def test_results_are_a_file_or_not_there_yet(tmp_path, make, what, name):
    """What is written into a device or a pipe is paid for and gone; a folder stands for `results.jsonl` in it."""
    assert tmp_path / "results.jsonl" == Paths.of(tmp_path).results
    make(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} is {what}: results must be a file, or not be there yet"):
        Paths.of(tmp_path)


def test_a_link_is_what_it_leads_to(tmp_path):
    """Answers may be kept on another disk."""
    (tmp_path / "elsewhere.jsonl").touch()
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    (tmp_path / "new.jsonl").symlink_to(tmp_path / "yet to be made.jsonl")
    assert tmp_path / "out.jsonl" == Paths.of(tmp_path / "out.jsonl").results
    assert tmp_path / "new.jsonl" == Paths.of(tmp_path / "new.jsonl").results

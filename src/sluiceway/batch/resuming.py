"""Whether results that are there already may be gone on with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BatchError, BatchMismatch
from sluiceway.batch.manifest import Manifest
from sluiceway.batch.paths import PARTS_LOG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.batch.paths import Paths
    from sluiceway.batch.sources.source import Source


_OPTIONS: Final = {"template": "template=, --prompt-template", "system": "system=, --system"}


def manifest_for(paths: Paths, source: Source, settings: Mapping[str, Any], *, resume: bool | None) -> Manifest:
    """Return the manifest to go on with; it reads the whole source for its fingerprint, and blocks for it.

    Args:
        paths: of the batch.
        source: what will be read.
        settings: what shapes the answers.
        resume: None to go on if source and settings are those of before; True to go on in any case: rows whose ids are
            in the files are settled; False to begin anew: the files of before are moved aside, since they are paid for.

    Raises:
        BatchMismatch: *resume* is None, and something differs.
        BatchError: the source cannot be read, or the manifest.
    """
    if resume is False:
        move_aside(paths)
    before = Manifest.read(paths.manifest)
    settings = {**settings, "id_column": source.id_column}
    try:
        found = source.fingerprint(None if before is None else before.source)
    except OSError as error:
        raise BatchError(f"the source {source.name} cannot be read: {error.strerror or error}") from error
    if resume is None:
        _check(paths, before, source, settings)
    return Manifest(found, settings, () if before is None else before.runs)


def _check(paths: Paths, before: Manifest | None, source: Source, settings: Mapping[str, Any]) -> None:
    if before is None:
        if any(path.exists() and path.stat().st_size for path in (paths.results, paths.dead)):
            raise BatchMismatch(
                f"{paths.results} is there, without the manifest that says what it was made from. Resume in any case "
                "(resume=True, --resume) if it is this batch's, begin anew (resume=False, --restart), or name another"
            )
        return
    changed = source.difference(before.source)
    differences = (*(() if changed is None else (changed,)), *before.differences(settings))
    if differences:
        raise BatchMismatch(
            f"{paths.results} was made otherwise: {'; '.join(differences)}. Resume in any case (resume=True, "
            "--resume), begin anew (resume=False, --restart), or name another",
            differences,
        )


def refuse_other_prompts(paths: Paths, before: Manifest, settings: Mapping[str, Any]) -> None:
    """Refuse to ask about dead letters without what made prompts of their rows: it would be something else.

    Another template than before is no mistake, none may be one.

    Raises:
        BatchMismatch: something that was given before is not.
    """
    was = before.settings
    left_out = [name for name in _OPTIONS if name in settings and settings[name] is None and was.get(name) is not None]
    other = [
        name
        for name in ("endpoint", "argument")
        if name in settings and settings[name] != was.get(name, settings[name])
    ]
    differences = (
        *(f"there was a {name} and is none: give {_OPTIONS[name]}" for name in left_out),
        *(f"{name} was {was[name]!r} and is {settings[name]!r}" for name in other),
    )
    if differences:
        raise BatchMismatch(
            f"the dead letters of {paths.results} would be asked other prompts: {'; '.join(differences)}", differences
        )


def refuse_parts(paths: Paths) -> None:
    """Refuse to ask row by row what an earlier run has given to the Batch API.

    Raises:
        BatchError: not all of it is merged into the results.
    """
    if (paths.parts / PARTS_LOG).exists():
        raise BatchError(
            f"{paths.parts} holds batches of an earlier run by way of the Batch API that are not merged yet: to call "
            "for their rows would pay for them twice. Go on with these (--via batch-api, run_over_batch_api), or begin "
            "anew (resume=False, --restart)"
        )


def move_aside(paths: Paths) -> None:
    """Give the files of an earlier batch another name, `answers.before-1700000000.jsonl`.

    What is at the provider goes with them: a run over the Batch API with that name for its results takes it up.
    """
    stamp = f"before-{time.time_ns() // 1_000_000}"
    for path in (paths.results, paths.dead, paths.manifest, paths.parts):
        if path.exists():
            stem, dot, rest = path.name.partition(".")
            path.rename(path.with_name(f"{stem}.{stamp}{dot}{rest}"))

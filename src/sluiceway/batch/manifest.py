"""What a batch is made of, and what its runs did: the file that lets a resume trust the results."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BatchError
from sluiceway.batch.fields import NUMBER, NUMBERS, OBJECT, OBJECTS, TEXT, WHOLE, optional, require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT: Final = 1
_OF_RUN: Final = {
    "elapsed_s": NUMBER,
    "answered": WHOLE,
    "dead": WHOLE,
    "pending": WHOLE,
    "stopped": optional(OBJECT),
    "stats": optional(OBJECT),
    "pipeline": OBJECTS,
}
_FOLLOWS: Final = {"id_column": ", so that every row would be asked, and paid for, again"}
_RUNS: Final = 100  # runs remembered; a batch that is resumed more often forgets its first


@dataclass(frozen=True, slots=True)
class Manifest:
    """The file beside the results.

    Attributes:
        source: the fingerprint of what was read; see `Source.fingerprint`.
        settings: what shapes the answers: the model or function, the template, parameters. Another rate limit does not.
        runs: what each run did, the oldest first.
    """

    source: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...] = field(default=())

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """Return what *path* holds; None if it is not there.

        Raises:
            BatchError: it is no manifest, or one of a later version.
        """
        try:
            held = json.loads(path.read_bytes())
            if held["format"] > FORMAT:
                raise BatchError(f"{path} was written by a later version of sluiceway")
            require(held, {"source": OBJECT, "settings": OBJECT})
            require(held["source"], {"bytes": WHOLE, "sha256": TEXT})
            return cls(held["source"], held["settings"], tuple(filter(_is_run, held.get("runs") or ())))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            why = f" ({error})" if type(error) is ValueError else ""
            raise BatchError(f"{path} is no manifest of a batch{why}: move it away to go on") from error

    def write(self, path: Path) -> None:
        """Put it in the place of what *path* holds, in one step.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        held = {"format": FORMAT, "source": self.source, "settings": self.settings, "runs": self.runs[-_RUNS:]}
        try:
            with new.open("w", encoding="utf-8") as file:
                json.dump(held, file, indent=1, default=str)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def differences(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return a sentence for each of *settings* that is not as it was."""
        names = sorted({*self.settings, *settings})
        told = ((name, self.settings.get(name), settings.get(name)) for name in names)
        return tuple(
            f"{name} was {was!r} and is {now!r}{_FOLLOWS.get(name, '')}" for name, was, now in told if was != now
        )


def _is_run(value: Any) -> bool:
    """Whether *value* is what a run did. What is not is left out: a batch can do without its history."""
    try:
        require({"run": value}, {"run": OBJECT})
        require(value, _OF_RUN)
        require(value.get("stats") or {}, {"attempt_errors": optional(NUMBERS)})
    except ValueError:
        return False
    return True


def wall_time() -> str:
    """Return the time of day in UTC, as manifests have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")

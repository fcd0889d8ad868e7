"""Log lines on stderr, for an application that has configured no logging."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from logging import INFO
from typing import Any, Final

from .logs import standard_log

FORMS: Final = ("text", "json")
_OF_ANY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, event, and what the line says (`trace_id`, `call_id`, ...)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        said = {name: value for name, value in vars(record).items() if name not in _OF_ANY_RECORD}
        # Ours are "%s: %s" of the event and its fields in a row; fields have a place of their own here.
        event = record.args[0] if said and isinstance(record.args, tuple) and record.args else record.getMessage()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
            **said,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class LogLines:
    """Lines of the standard logger `"sluiceway"` on stderr, from INFO on.

    Args:
        form: `"text"` or `"json"`.

    Raises:
        ValueError: *form* is neither.
    """

    def __init__(self, form: str) -> None:
        if form not in FORMS:
            raise ValueError(f"logs={form!r} must be 'text', 'json' or None")
        self._form = form
        self._handler: logging.Handler | None = None
        self._level = standard_log.level

    def add(self) -> None:
        """Write from now on; where lines have a way already they keep it, and it is the only one."""
        structlog = sys.modules.get("structlog")
        if structlog is not None and structlog.is_configured():
            warnings.warn(
                "structlog is configured: lines go there, and logs= of telemetry.setup() adds nothing",
                RuntimeWarning,
                stacklevel=4,
            )
            return
        self._level = standard_log.level
        standard_log.setLevel(min(standard_log.getEffectiveLevel(), INFO))
        if _has_a_way():
            return
        self._handler = handler = logging.StreamHandler()
        handler.setFormatter(JsonLines() if self._form == "json" else logging.Formatter(_TEXT))
        standard_log.addHandler(handler)

    def remove(self) -> None:
        """Write no longer."""
        standard_log.setLevel(self._level)
        if self._handler is not None:
            standard_log.removeHandler(self._handler)
            self._handler = None


def _has_a_way() -> bool:
    """Whether some handler writes the logger's lines: its own, or one of a logger above it."""
    logger: logging.Logger | None = standard_log
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False

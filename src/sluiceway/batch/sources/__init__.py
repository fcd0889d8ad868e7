"""Where rows come from: files of several formats, iterables and async iterables, read as they are needed."""

from sluiceway.batch.sources.opening import FORMATS, open_source
from sluiceway.batch.sources.row import Row, Unread
from sluiceway.batch.sources.source import Source

__all__ = ["FORMATS", "Row", "Source", "Unread", "open_source"]

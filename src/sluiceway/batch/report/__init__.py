"""A batch's report: one HTML page with everything in it, which asks no network for anything."""

from sluiceway.batch.report.gathered import Gathered, gather
from sluiceway.batch.report.page import page
from sluiceway.batch.report.writing import write_report

__all__ = ["Gathered", "gather", "page", "write_report"]

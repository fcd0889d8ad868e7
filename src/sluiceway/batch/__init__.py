"""Files of prompts in, files of answers out: batches that survive anything and never pay twice."""

from sluiceway.batch.batch_api import PartLimits, run_over_batch_api
from sluiceway.batch.dead_letters import DeadLetter, Failure, read_dead_letters
from sluiceway.batch.errors import BadRow, BatchError, BatchLocked, BatchMismatch, NoAnswer
from sluiceway.batch.outcome import BatchRun
from sluiceway.batch.paths import Paths
from sluiceway.batch.progress import Progress
from sluiceway.batch.rows import ResultRow, read_results
from sluiceway.batch.running import retry_dead, run
from sluiceway.batch.usual import usual_pipeline

__all__ = [
    "BadRow",
    "BatchError",
    "BatchLocked",
    "BatchMismatch",
    "BatchRun",
    "DeadLetter",
    "Failure",
    "NoAnswer",
    "PartLimits",
    "Paths",
    "Progress",
    "ResultRow",
    "read_dead_letters",
    "read_results",
    "retry_dead",
    "run",
    "run_over_batch_api",
    "usual_pipeline",
]

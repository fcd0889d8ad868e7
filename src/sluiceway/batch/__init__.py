"""Files of prompts in, files of answers out: batches that survive anything and never pay twice."""

from sluiceway.batch.dead_letters import DeadLetter, Failure, read_dead_letters
from sluiceway.batch.paths import Paths
from sluiceway.batch.rows import ResultRow, read_results

__all__ = ["DeadLetter", "Failure", "Paths", "ResultRow", "read_dead_letters", "read_results"]

"""A batch by way of OpenAI's Batch API: half the price, within a day, and paid for once whatever dies in between."""

from sluiceway.batch.batch_api.driving import Driver
from sluiceway.batch.batch_api.one_run import run_over_batch_api
from sluiceway.batch.batch_api.part import Part, Task
from sluiceway.batch.batch_api.provider import BatchApi
from sluiceway.batch.batch_api.splitting import PartLimits, TaskTooLarge, split
from sluiceway.batch.batch_api.state import PartStore

__all__ = [
    "BatchApi",
    "Driver",
    "Part",
    "PartLimits",
    "PartStore",
    "Task",
    "TaskTooLarge",
    "run_over_batch_api",
    "split",
]

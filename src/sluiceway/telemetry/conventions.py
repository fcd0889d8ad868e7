"""The names that attributes have in spans, metrics and logs: ours, and those of OpenTelemetry that we use.

OpenTelemetry's GenAI conventions are in development and their Python constants deprecated, so they are spelt out here.
"""

from typing import Final

CALL_NAME: Final = "sluiceway.call.name"

"""Pipelines from TOML, YAML and JSON files, checked before they run.

``config = sluiceway.config.load("pipeline.toml"); ask = config.pipelines["chat"](ask)``. The order of the list in the
file is the order of the layers; every layer has its own name and its own settings there.
"""

from __future__ import annotations

from .config import Config, load
from .handle import PipelineHandle
from .presets import Preset, anthropic_tier, batch, interactive, openai_tier
from .problems import Problem
from .registry import Registry
from .watching import Watch

__all__ = [
    "Config",
    "PipelineHandle",
    "Preset",
    "Problem",
    "Registry",
    "Watch",
    "anthropic_tier",
    "batch",
    "interactive",
    "load",
    "openai_tier",
]

"""From options to the arguments of `batch.run`."""

from __future__ import annotations

import json
from typing import Any, Final

import click
from click.core import ParameterSource

from sluiceway.batch import usual_pipeline
from sluiceway.batch.target import OF_ANSWERS
from sluiceway.batch.usual import TIMEOUT
from sluiceway.cli.pipelines import pipeline_of

LIMITS: Final = ("concurrency", "rpm", "tpm", "policy", "timeout", "attempts")
_SETTINGS: Final = (
    "rows_under_way",
    "full_response",
    "fsync",
    "drain",
    "patience",
    "disk_patience",
    "abort_over",
    "alert_over",
)

_EFFECTLESS: Final = {
    "calls": ("poll", "enqueued_tokens"),
    "batch-api": ("fsync", "drain", "patience", "disk_patience", "abort_over", "alert_over", "alert_exit"),
}


def target_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked, and through which layers.

    Raises:
        click.UsageError: options contradict each other, or say too little.
    """
    if not options["model"]:
        raise click.UsageError("--model is missing: what is to be asked?")
    return {
        "ask": options["model"],
        "pipeline": _pipeline(options),
        "base_url": options["base_url"],
        "endpoint": options["endpoint"],
        "system": options["system"],
        "parameters": parameters_of(options),
    }


def parameters_of(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the further fields of every request; None if there are none.

    Raises:
        click.UsageError: one of them is no NAME=JSON, or is none of the endpoint's.
    """
    parameters = dict(_parameter(text) for text in options["param"])
    of_answers = {name: options[name] for name in OF_ANSWERS if options[name] is not None}
    if of_answers and options["endpoint"] == "embeddings":
        raise click.UsageError(f"{option_of(next(iter(of_answers)))} is about answers in words: embeddings have none")
    parameters |= of_answers
    return parameters or None


def settings_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return how the batch runs."""
    settings = {name: options[name] for name in _SETTINGS if options[name] is not None}
    for name in ("abort_over", "alert_over"):
        if settings[name] >= 1:
            settings[name] = None
    return settings


def without_effect(context: click.Context, via: str) -> list[str]:
    """Return what was given and means nothing to a batch *via* the way that it goes."""
    return [name for name in _EFFECTLESS[via] if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]


def _pipeline(options: dict[str, Any]) -> Any:
    if not options["config"]:
        if options["pipeline"]:
            raise click.UsageError("--pipeline names a pipeline of a file: give --config too")
        given = {name: options[name] for name in LIMITS if options[name] is not None}
        if "policy" in given and not {"rpm", "tpm"} & set(given):
            raise click.UsageError("--policy is for limits: give --rpm or --tpm too")
        return usual_pipeline(**{"timeout": TIMEOUT, **given})
    given_beside = [name for name in LIMITS if options[name] is not None]
    if given_beside:
        raise click.UsageError(f"--{given_beside[0]} is for batches without --config: write it into that file")
    return pipeline_of(options["config"], options["pipeline"])


def option_of(name: str) -> str:
    """Return the option that sets the argument *name*."""
    return f"--{name.replace('_', '-')}"


def _parameter(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    try:
        return name, json.loads(value if found and name else "")
    except ValueError:
        raise click.UsageError(
            f'--param {text!r} must be NAME=JSON, such as top_p=0.9 or \'response_format={{"type": "json_object"}}\''
        ) from None

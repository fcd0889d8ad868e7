"""Whether another instrumentation makes a span of each request to the provider already."""

from __future__ import annotations

import sys
from typing import Final

import wrapt

_MODULE: Final = "openai.resources.chat.completions.completions"


def instrumented() -> bool:
    """Whether somebody else makes a span of every request of this process, with the model and the tokens.

    Ours leave those to it, since a backend would count the tokens twice. Known are
    opentelemetry-instrumentation-genai-openai and OpenInference, by their wrappers around `AsyncCompletions.create`
    and `AsyncOpenAI.request`, and logfire, which marks the class; openai is not imported for that. Of a client that
    logfire was given by itself, our response hook tells (`Attempt.beside`). Asked at every recorded attempt, since
    they can come and go; 0.6 us.
    """
    completions = getattr(sys.modules.get(_MODULE), "AsyncCompletions", None)
    if completions is None:
        return False
    if isinstance(completions.__dict__.get("create"), wrapt.FunctionWrapper):
        return True
    client = getattr(sys.modules.get("openai"), "AsyncOpenAI", None)
    if client is None:
        return False
    return isinstance(client.__dict__.get("request"), wrapt.FunctionWrapper) or instruments(client)


def instruments(client: object) -> bool:
    """Whether logfire was given *client*, a class or one of its instances."""
    return getattr(client, "_is_instrumented_by_logfire", False) is True

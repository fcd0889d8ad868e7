"""Whether another instrumentation makes a span of each request to the provider already."""

from __future__ import annotations

import sys
from typing import Final

import wrapt

_MODULE: Final = "openai.resources.chat.completions.completions"


def instrumented() -> bool:
    """Whether opentelemetry-instrumentation-genai-openai is active in this process.

    It makes a CLIENT span with `gen_ai.*` of every request, so ours leave that to it: a backend would count the
    tokens twice. Recognised by its wrapper around `AsyncCompletions.create`; openai is not imported for that. Asked
    at every recorded attempt, since it can come and go; 0.3 us.
    """
    completions = getattr(sys.modules.get(_MODULE), "AsyncCompletions", None)
    return completions is not None and isinstance(completions.__dict__.get("create"), wrapt.FunctionWrapper)

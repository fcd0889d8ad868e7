"""The names of attributes in spans and metrics: ours, and those of OpenTelemetry that we use.

OpenTelemetry's GenAI conventions are still in development and their Python constants deprecated, so the few that are
needed are spelt out here. Layers name what they say in their phases themselves (`"sluiceway.bounded.limit"`).
"""

from typing import Final

# ------------------------------------------------------------------ ours

CALL_NAME: Final = "sluiceway.call.name"
CALL_ID: Final = "sluiceway.call.id"
CALL_OUTCOME: Final = "sluiceway.call.outcome"
CALL_ATTEMPTS: Final = "sluiceway.call.attempts"
CALL_REQUESTS: Final = "sluiceway.call.requests"
"""Requests that went out, told only where the provider's SDK retried under our attempts."""
CALL_INPUT_TOKENS: Final = "sluiceway.call.input_tokens"
CALL_OUTPUT_TOKENS: Final = "sluiceway.call.output_tokens"
WAIT: Final = "sluiceway.wait."
"""Followed by the reason: seconds that the call waited for it."""
ATTEMPT_OUTCOME: Final = "sluiceway.attempt.outcome"
ATTEMPT_NUMBER: Final = "sluiceway.attempt.number"
ATTEMPT_SDK_RETRIES: Final = "sluiceway.attempt.sdk_retries"
PHASE_SECONDS: Final = "sluiceway.phase.seconds"
"""Only with `detail="nested"`, where a phase's span outlives it."""
STREAM_ITEMS: Final = "sluiceway.stream.items"
STREAM_FIRST_ITEM: Final = "sluiceway.stream.time_to_first_item"
LAYER: Final = "sluiceway.layer"
REASON: Final = "sluiceway.wait.reason"
LIMIT: Final = "sluiceway.rate_limit.name"
"""Which of a limiter's limits: `rpm`, `tpm`, ..."""
STATE_BEFORE: Final = "sluiceway.circuit_breaker.old_state"
STATE: Final = "sluiceway.circuit_breaker.state"
PAUSE: Final = "sluiceway.rate_limit.pause"
KIND_OF_TOKEN: Final = "sluiceway.tokens.type"  # noqa: S105 - no password
SDK_RETRIES: Final = "sluiceway.sdk_retries"
SESSION_CALLS: Final = "sluiceway.session.calls"
SESSION_SUCCEEDED: Final = "sluiceway.session.succeeded"
SESSION_ATTEMPTS: Final = "sluiceway.session.attempts"
SESSION_INPUT_TOKENS: Final = "sluiceway.session.input_tokens"
SESSION_OUTPUT_TOKENS: Final = "sluiceway.session.output_tokens"
FALLBACK_FROM: Final = "sluiceway.fallback.from"
FALLBACK_TO: Final = "sluiceway.fallback.to"
"""On the span of the call: who was asked last, and so answered if the call did well."""
DEPLOYMENT: Final = "sluiceway.routed.deployment"
BUDGET_UNIT: Final = "sluiceway.budget.unit"

# ------------------------------------------------------------------ OpenTelemetry's

SESSION_ID: Final = "session.id"
ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
HTTP_STATUS: Final = "http.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"


def type_name(error: BaseException) -> str:
    """Return what `error.type` says of *error*: its class, with its module unless that is `builtins`."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"

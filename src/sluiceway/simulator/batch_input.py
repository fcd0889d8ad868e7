"""Reading the input of a batch: a line of JSON for each request, checked as OpenAI documents it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sluiceway.simulator.asked import PATHS, Asked, Unreadable, read

MOST_REQUESTS: Final = 50_000
MOST_BYTES: Final = 200_000_000
ENDPOINTS: Final = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One line of the input.

    Attributes:
        custom_id: the client's own name for it.
        asked: the request; or why it makes no sense, which fails this line alone.
    """

    custom_id: str
    asked: Asked | str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a whole batch fails before any of its requests runs."""

    code: str
    message: str
    line: int | None = None


def read_requests(
    content: bytes, endpoint: str, tokens_per_character: float
) -> tuple[list[BatchRequest], list[Problem]]:
    """Return the requests in *content*, and what is wrong with it; with a problem the batch fails.

    A line that is no JSON object, has no ``custom_id`` of its own, or asks another endpoint than the batch, fails the
    batch. A body that its endpoint does not take fails that request alone, when it runs.
    """
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    problem = _too_much(len(lines), len(content))
    if problem is not None:
        return [], [problem]
    requests: list[BatchRequest] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for number, line in lines:
        found = _line(line, endpoint, seen, tokens_per_character)
        if isinstance(found, BatchRequest):
            requests.append(found)
            seen.add(found.custom_id)
        else:
            problems.append(Problem(*found, number))
    return requests, problems


def _too_much(lines: int, size: int) -> Problem | None:
    if not lines:
        return Problem("empty_file", "The input file has no requests.")
    if lines > MOST_REQUESTS:
        return Problem("too_many_tasks", f"The input file has {lines:,} requests; at most {MOST_REQUESTS:,} are taken.")
    if size > MOST_BYTES:
        return Problem("file_too_large", f"The input file has {size:,} bytes; at most {MOST_BYTES:,} are taken.")
    return None


def _line(line: bytes, endpoint: str, seen: set[str], tokens_per_character: float) -> BatchRequest | tuple[str, str]:
    try:
        task = json.loads(line)
    except ValueError:
        return "invalid_json_line", "This line is not valid JSON."
    if not isinstance(task, dict) or not isinstance(task.get("body"), dict):
        return "invalid_request", "This line must be a JSON object with a 'body'."
    custom_id = task.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        return "missing_required_parameter", "This line has no 'custom_id'."
    if custom_id in seen:
        return "duplicate_custom_id", f"The custom_id {custom_id!r} stands in an earlier line too."
    if task.get("method") != "POST":
        return "invalid_method", "The 'method' must be POST."
    if task.get("url") != endpoint:
        return "mismatched_endpoint", f"The 'url' must be the endpoint of the batch, {endpoint}."
    return BatchRequest(custom_id, _asked(endpoint, task["body"], tokens_per_character))


def _asked(endpoint: str, body: dict[str, Any], tokens_per_character: float) -> Asked | str:
    assert endpoint in PATHS
    if body.get("stream"):
        return "The parameter 'stream' is not supported in a batch."
    try:
        # Written anew: two requests are the same when their bodies are, however the lines were spaced.
        return read(endpoint, json.dumps(body).encode(), tokens_per_character)
    except Unreadable as error:
        return str(error)

"""The real `AsyncOpenAI` on a transport that answers from memory: no socket, so virtual time runs."""

from __future__ import annotations

import json

import httpx2
import openai

from sluiceway.testing import chunks, completion

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_000,
    "model": "gpt-4o-mini",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": '{"answer": 4}', "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
EMBEDDINGS = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}


class Server:
    """Answers chat completions, responses and embeddings; remembers the paths it was asked for."""

    def __init__(self, text="ok"):
        self.text = text
        self.paths = []
        self.bodies = []

    def handle(self, request):
        self.paths.append(request.url.path)
        body = json.loads(request.content or b"{}")
        self.bodies.append(body)
        if request.url.path.endswith("/embeddings"):
            return httpx2.Response(200, json=EMBEDDINGS)
        if request.url.path.endswith("/responses"):
            return httpx2.Response(200, json=RESPONSE)
        if body.get("stream"):
            events = [json.dumps(chunk.model_dump()) for chunk in chunks("one two three", real=True)]
            text = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)
        return httpx2.Response(200, json=completion(self.text, real=True).model_dump())


def client_of(server, kind=openai.AsyncOpenAI):
    """Return a client of *kind* that talks to *server*."""
    transport = httpx2.MockTransport(server.handle)
    http = httpx2.AsyncClient if kind is openai.AsyncOpenAI else httpx2.Client
    return kind(api_key="x", base_url="http://provider/v1", max_retries=0, http_client=http(transport=transport))

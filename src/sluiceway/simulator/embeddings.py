"""Embeddings as OpenAI writes them, as numbers or in base64."""

from __future__ import annotations

import base64
import random
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluiceway.simulator.answer import Answer
    from sluiceway.simulator.asked import Asked


def whole(asked: Asked, answer: Answer) -> dict[str, Any]:
    """Return one embedding for each text; the same request gets the same ones."""
    rng = random.Random(asked.identity)
    data = [
        {"object": "embedding", "index": index, "embedding": _embedding(asked, rng)} for index in range(asked.inputs)
    ]
    embeddings = {"object": "list", "data": data, "model": asked.model}
    if not answer.usage:
        return embeddings
    return embeddings | {"usage": {"prompt_tokens": asked.prompt_tokens, "total_tokens": asked.prompt_tokens}}


def _embedding(asked: Asked, rng: random.Random) -> list[float] | str:
    numbers = [rng.uniform(-1, 1) for _ in range(asked.dimensions)]
    if not asked.base64:
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()

"""Exact token counts, where a vocabulary is installed; nothing is ever downloaded.

Vocabularies come from `bpe-openai` (the extra `tokens`), which ships them, or from `tiktoken` if its cache holds
them. How far characters / 4 is off on texts of your own::

    python -m sluiceway.providers.counters prompts.txt
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from sluiceway.errors import MissingExtra

Count: TypeAlias = Callable[[str], int]

_NEW: Final = "o200k_base"
_OLD: Final = "cl100k_base"
_OF_MODEL: Final = (  # by the start of the name, the longer ones first
    (_NEW, ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-6", "chatgpt-4o", "gpt-oss", "o1", "o3", "o4", "codex-")),
    (_OLD, ("gpt-4", "gpt-3.5", "gpt-35", "text-embedding-3-", "text-embedding-ada-002")),
)
_SAMPLE: Final = 20_000  # characters counted at most, 0.7 ms; a longer text is extrapolated from its beginning

# What tiktoken's cache calls the files (the SHA-1 of where it would load them from) and what is in them.
_TIKTOKEN: Final = {
    _NEW: "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    _OLD: "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
_TIKTOKEN_URL: Final = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


class TokenCounter:
    """Counts tokens as OpenAI's models do; see `token_counter`."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[str], Count]) -> None:
        """Count by what *find* returns for the name of a vocabulary."""
        self._find = find

    def count(self, text: str, model: str | None = None) -> tuple[int, bool]:
        """Return the tokens of *text* and whether that is exact.

        It is not for a model whose vocabulary is not public, or unknown to us, which is counted by the one of
        OpenAI's newer models, nor for a text of more than 20,000 characters, which is extrapolated.
        """
        name, known = vocabulary_of(model)
        count = self._find(name)
        if len(text) <= _SAMPLE:
            return _safely(count, text), known
        return round(_safely(count, text[:_SAMPLE]) * len(text) / _SAMPLE), False


def token_counter(choice: Literal["auto", "exact", "characters"] = "auto") -> TokenCounter | None:
    """Return a counter to estimate with, or None for characters / 4.

    The vocabulary is loaded here, once in a process, and not by the first call that needs it: 0.06 s and 67 MB
    (1.5 s if the disk has to be read first). Counting takes 10 us for 300 characters.

    Args:
        choice: `"auto"` is exact if a vocabulary is installed, `"exact"` insists on one, `"characters"` does without.

    Raises:
        MissingExtra: `"exact"`, and there is neither `bpe-openai` nor `tiktoken` with a filled cache.
        ValueError: another choice.
    """
    if choice not in ("auto", "exact", "characters"):
        raise ValueError(f"{choice!r} is no way to count tokens: write 'auto', 'exact' or 'characters'")
    if choice == "characters":
        return None
    counter = _installed()
    if counter is None and choice == "exact":
        raise MissingExtra("counting tokens exactly", "tokens")
    return counter


def vocabulary_of(model: str | None) -> tuple[str, bool]:
    """Return the vocabulary of *model* and whether it is known to be its own."""
    if model is not None:
        name = model.rpartition("/")[2].removeprefix("ft:")
        for vocabulary, starts in _OF_MODEL:
            if name.startswith(starts):
                return vocabulary, True
    return _NEW, False


@cache
def _installed() -> TokenCounter | None:
    for find in (_bpe_openai, _tiktoken):
        try:
            find(_NEW)
        except Exception:  # noqa: BLE001, S112 - a broken or empty installation is none
            continue
        return TokenCounter(find)
    return None


@cache
def _bpe_openai(name: str) -> Count:
    """Load the extension alone: the package around it decodes all vocabularies in Python, for 1.6 s and 140 MB."""
    full = "bpe_openai._bindings"
    module: Any = sys.modules.get(full)
    if module is None:
        package = importlib.util.find_spec("bpe_openai")
        if package is None or package.submodule_search_locations is None:
            raise ImportError("bpe_openai is not installed")
        folder = Path(package.submodule_search_locations[0])
        path = next(path for suffix in EXTENSION_SUFFIXES if (path := folder / f"_bindings{suffix}").exists())
        spec = importlib.util.spec_from_file_location(full, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no extension module")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[full] = module  # it can be initialised once, and the package may be imported after us
    count: Count = module.tokenizer_for_encoding(name).count
    return count


@cache
def _tiktoken(name: str) -> Count:
    """Take tiktoken's vocabulary if it lies in its cache with the right content; else it would fetch it."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    cached = Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache")
    path = cached / hashlib.sha1(_TIKTOKEN_URL.format(name).encode()).hexdigest()  # noqa: S324 - tiktoken's name for it
    if hashlib.sha256(path.read_bytes()).hexdigest() != _TIKTOKEN[name]:
        raise ImportError(f"{path} is not {name}")
    encoding = importlib.import_module("tiktoken").get_encoding(name)
    return lambda text: len(encoding.encode_ordinary(text))


def _safely(count: Count, text: str) -> int:
    try:
        return count(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return count(text.encode("utf-8", "replace").decode())


def _report(paths: list[str]) -> int:
    """Print how far characters / 4 is off for each file."""
    from .estimates import characters_as_tokens  # noqa: PLC0415 - estimates import this module

    counter = token_counter("exact")
    for path in paths:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        exact = sum(counter.count(text[i : i + _SAMPLE])[0] for i in range(0, len(text), _SAMPLE)) if counter else 0
        guess = characters_as_tokens(text)
        error = f"{guess / exact - 1:+.0%}" if exact else "-"
        sys.stdout.write(f"{path}: {exact} tokens, estimated {guess:.0f} ({error})\n")
    return 0


if __name__ == "__main__":
    sys.exit(_report(sys.argv[1:]))

"""Exact counters: which vocabulary, from where, and never by a download."""

import hashlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sluiceway.errors import MissingExtra
from sluiceway.providers import counters
from sluiceway.providers.counters import token_counter, vocabulary_of


@pytest.fixture
def fresh():
    """Forget which counters are loaded, before and after."""
    for each in (counters._installed, counters._bpe_openai, counters._tiktoken):
        each.cache_clear()
    yield
    for each in (counters._installed, counters._bpe_openai, counters._tiktoken):
        each.cache_clear()


@pytest.fixture
def bpe_openai_is_missing(monkeypatch, fresh):
    monkeypatch.delitem(sys.modules, "bpe_openai._bindings", raising=False)
    monkeypatch.setattr(counters.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-mini", ("o200k_base", True)),
        ("gpt-5-nano", ("o200k_base", True)),
        ("o3-mini", ("o200k_base", True)),
        ("ft:gpt-4o-mini-2024-07-18:acme::1", ("o200k_base", True)),
        ("openai/gpt-4.1", ("o200k_base", True)),
        ("gpt-4-turbo", ("cl100k_base", True)),
        ("gpt-3.5-turbo", ("cl100k_base", True)),
        ("text-embedding-3-small", ("cl100k_base", True)),
        ("claude-sonnet-4-5", ("o200k_base", False)),
        (None, ("o200k_base", False)),
    ],
)
def test_vocabularies(model, expected):
    """Each of OpenAI's models has its vocabulary; others borrow the newest and are known not to own it."""
    assert expected == vocabulary_of(model)


def test_counts_exactly():
    """A text is counted by the model's own vocabulary, also where half a surrogate pair is in it."""
    pytest.importorskip("bpe_openai")
    counter = token_counter()
    assert (4, True) == counter.count("tokens for the win", "gpt-4o")
    assert counter.count("a\ud800", "gpt-4")[0] > 0


def test_long_texts_are_extrapolated():
    """Counting stops at 20,000 characters, so that one huge prompt does not hold up the loop."""
    pytest.importorskip("bpe_openai")
    count, exact = token_counter().count("word " * 40_000, "gpt-4o")
    assert not exact
    assert count == pytest.approx(40_000, rel=0.01)


@pytest.mark.real
def test_package_can_be_imported_after_us():
    """Loading the extension without its package does not spoil a later import of the package."""
    pytest.importorskip("bpe_openai")
    script = (
        "import sys; from sluiceway.providers.counters import token_counter; counter = token_counter('exact')\n"
        "assert 'bpe_openai' not in sys.modules\n"
        "from bpe_openai import _bindings; import bpe_openai._bindings as again\n"
        "print(counter.count('hello world', 'gpt-4o')[0], again.tokenizer_for_encoding('o200k_base').count('hello'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "1"]


def test_characters():
    """Who wants characters gets no counter."""
    assert token_counter("characters") is None


def test_nothing_installed(bpe_openai_is_missing, monkeypatch, tmp_path):
    """Without a vocabulary `auto` does without, and `exact` says what to install."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert token_counter() is None
    with pytest.raises(MissingExtra, match=r"sluiceway\[tokens\]"):
        token_counter("exact")


def test_unknown_choice():
    """A choice that does not exist is refused with those that do."""
    with pytest.raises(ValueError, match="'words' is no way to count tokens: write 'auto', 'exact' or 'characters'"):
        token_counter("words")


class Tiktoken:
    """Stands in for tiktoken, and remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def get_encoding(self, name):
        self.asked.append(name)
        return SimpleNamespace(encode_ordinary=str.split)


@pytest.fixture
def tiktoken(bpe_openai_is_missing, monkeypatch):
    module = Tiktoken()
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    return module


CACHED = hashlib.sha1(b"https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken").hexdigest()


@pytest.mark.parametrize("content", [None, b"torn"], ids=["empty", "torn"])
def test_tiktoken_without_its_cache_is_not_asked(tiktoken, content, monkeypatch, tmp_path):
    """Tiktoken downloads what its cache lacks or has wrong, so it is not even asked then."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    if content is not None:
        (tmp_path / CACHED).write_bytes(content)
    assert (None, []) == (token_counter(), tiktoken.asked)


@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
def test_tiktoken_with_a_filled_cache(tiktoken, variable, monkeypatch, tmp_path):
    """Tiktoken counts if the vocabulary lies in its cache with the right content."""
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setitem(counters._TIKTOKEN, "o200k_base", hashlib.sha256(b"vocabulary").hexdigest())
    (tmp_path / CACHED).write_bytes(b"vocabulary")
    assert (3, True) == token_counter("exact").count("one two three", "gpt-4o")
    assert tiktoken.asked == ["o200k_base"]


@pytest.mark.real
def test_report(tmp_path):
    """`python -m sluiceway.providers.counters FILE` prints the exact count, the estimate and its error."""
    pytest.importorskip("bpe_openai")
    path = tmp_path / "prompts.txt"
    path.write_text("tokens for the win")
    command = [sys.executable, "-m", "sluiceway.providers.counters", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{path}: 4 tokens, estimated 4 (+12%)\n" == done.stdout

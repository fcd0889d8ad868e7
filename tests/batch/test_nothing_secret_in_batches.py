"""Prompts, answers, keys and messages of errors stand where they were asked for, and nowhere else."""

from __future__ import annotations

import logging

from sluiceway import Layer, Pipeline, config, retry_jitter
from sluiceway.batch import run
from sluiceway.batch.plan import plan
from sluiceway.batch.report import write_report
from sluiceway.testing import completion, openai_error

PROMPT, ANSWER, KEY, MESSAGE = "mark-of-a-prompt", "mark-of-an-answer", "sk-mark-of-a-key", "mark-of-a-message"


class Create:
    """Stands for `client.chat.completions`; every third call fails with a message that quotes."""

    def __init__(self):
        self.calls = 0

    async def create(self, *, model, messages, **_):
        self.calls += 1
        if self.calls % 3 == 0:
            raise openai_error(400, message=f"{MESSAGE}: {messages} {KEY}")
        return completion(ANSWER)


class Client:
    def __init__(self):
        self.chat = self
        self.completions = Create()
        self.api_key = KEY


async def test_manifest_report_log_and_outcome_bear_no_marks(tmp_path, caplog):
    """Answers are in the results and requests among the dead letters; elsewhere there is nothing of them."""
    caplog.set_level(logging.DEBUG)
    seen = []

    class Watch:
        def __init__(self, look):
            self.look = look

        async def __aenter__(self):
            seen.append(repr(self.look()))

        async def __aexit__(self, *exc):
            seen.append(repr(self.look()))

    rows = [{"id": f"r{i}", "prompt": f"{PROMPT} {i}"} for i in range(9)]
    out = tmp_path / "out.jsonl"
    outcome = await run(
        *("gpt-4o-mini", rows, out),
        pipeline=Pipeline(retry_jitter(2)),
        client=Client(),
        system=f"{PROMPT} of the system",
        parameters={"user": KEY},
        watch=Watch,
        abort_over=None,
    )
    assert (6, 3) == (outcome.answered, outcome.dead)
    assert 6 == out.read_text().count(ANSWER)
    assert PROMPT in (tmp_path / "out.dead.jsonl").read_text()
    told = {
        "manifest": (tmp_path / "out.manifest.json").read_text(),
        "report": write_report(out, tmp_path / "report.html").read_text(),
        "log": caplog.text,
        "outcome": repr(outcome) + str(outcome.stats),
        "progress": "".join(seen),
    }
    for mark in (PROMPT, ANSWER, KEY, MESSAGE):
        assert [] == [where for where, text in told.items() if mark in text], mark


class Signed(Layer):
    """Signs calls with a token, or with one of several."""

    def __init__(self, token: str, others: list[str] | None = None) -> None:
        self._token, self._others = token, others

    def settings(self):
        return {"token": self._token, "others": self._others}

    async def handle(self, call, proceed):
        return await proceed(call)


FILE = """
[pipelines.chat]
layers = [{use = "signed", token = "env:TOKEN", others = ["env:TOKEN"]}, {use = "bounded", limit = 5}]
"""


async def test_a_secret_of_a_file_stands_in_no_file_of_the_batch(tmp_path):
    """In its place is the name that it has in the file, also if the batch is gone on with and its letters are tried."""
    registry = config.Registry({"signed": Signed})
    loaded = config.load(text=FILE, format="toml", environ={"TOKEN": KEY}, registry=registry)
    pipeline, out = loaded.pipelines["chat"], tmp_path / "out.jsonl"
    model = {"client": Client(), "pipeline": pipeline}
    for _ in range(2):
        await run("gpt-4o-mini", [{"id": i, "prompt": "p"} for i in range(3)], out, **model, parameters={"user": KEY})
    write_report(out, tmp_path / "report.html")
    assert '"token": "env:TOKEN"' in (tmp_path / "out.manifest.json").read_text()
    dead = (
        (tmp_path / "out.dead.jsonl").read_text().replace(f"{MESSAGE}: [{{'role': 'user', 'content': 'p'}}] {KEY}", "")
    )
    assert KEY not in dead  # but for the provider's own words
    assert [] == [path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl" and KEY in path.read_text()]
    assert KEY not in out.read_text()


def test_a_secret_of_a_file_stands_in_no_plan(tmp_path):
    """Neither for people nor as JSON, rehearsed or not."""
    loaded = config.load(text=FILE, format="toml", environ={"TOKEN": KEY}, registry=config.Registry({"signed": Signed}))
    told = plan("gpt-4o-mini", ["p"], pipeline=loaded.pipelines["chat"], simulate=True)
    assert KEY not in f"{told} {told!r} {told.to_dict()}"

"""`sluiceway check` and `sluiceway schema`, as CI and people run them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from config_files import SMALL
from sluiceway.cli.check import check_command
from sluiceway.cli.schema import schema_command

FINE = """\
chat (outermost first)
  timed(limit='60s')
  bounded(limit=30)
  rate_limited(rpm=600)  # limits.openai
  at most 1 attempt a call

pipeline.toml: 1 pipeline, 1 shared limit, ok
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Write a file and check it where it stands; returns the exit code, what was printed, and what was wrong."""
    monkeypatch.chdir(tmp_path)

    def run(text, *options, name="pipeline.toml"):
        if text is not None:
            (tmp_path / name).write_text(text)
        done = CliRunner().invoke(check_command, [name, *options])
        return done.exit_code, done.stdout, done.stderr

    return run


def test_a_file_that_can_be_used_is_shown_as_its_stacks(check):
    """As the calls meet the layers, with where the shared ones are from; the exit code is 0."""
    assert (0, FINE, "") == check(SMALL)


def test_a_file_that_cannot_be_used_is_told_by_place_and_fails(check):
    """All of it, on stderr, with exit code 1."""
    code, out, err = check(SMALL.replace("limit = 30", "limt = 30"))
    assert (1, "") == (code, out)
    assert (
        "pipeline.toml:8: pipelines.chat.layers[1].limt: bounded has no setting 'limt': did you mean 'limit'?\n" == err
    )
    assert (1, "", "missing.toml: it cannot be read: No such file or directory\n") == check(None, name="missing.toml")


def test_warnings_are_told_and_fail_only_where_that_is_asked_for(check):
    """The amplification stands with the stack."""
    more = '  { use = "bounded", id = "b", limit = 3 },\n  { use = "retry_jitter" },\n'
    text = SMALL.replace('  { use = "bounded"', more + '  { use = "bounded"')
    code, out, err = check(text)
    assert 0 == code
    assert "at most 3 attempts a call" in out
    assert "bounded(limit=3)  # b" in out
    assert err.startswith("warning: pipelines.chat: bounded stands outside retry_jitter")
    assert 1 == check(text, "--strict")[0]
    assert 0 == check(SMALL, "--strict")[0]


def test_settings_by_default_are_shown_on_request(check):
    """All of them."""
    assert "jitter=" not in check('[pipelines.a]\nlayers = [{ use = "retry_jitter" }]')[1]
    assert "jitter='full'" in check('[pipelines.a]\nlayers = [{ use = "retry_jitter" }]', "--all")[1]


def test_a_preset_s_source_is_shown(check):
    """So that its date is seen."""
    out = check('[limits.l]\nuse = "presets.openai_tier(2)"\n[pipelines.a]\nlayers = [{ ref = "limits.l" }]')[1]
    assert "presets.openai_tier(2, gpt-4o-mini): rate limits of gpt-4o-mini, " in out


def test_the_application_s_names_can_be_used(check, tmp_path):
    """By its Registry, or by a module that is allowed; nothing else is imported."""
    (tmp_path / "my_app.py").write_text(
        "from sluiceway.config import Registry\n"
        "def by_plan(call): return 1\n"
        "registry = Registry({'plan': by_plan})\n"
        "number = 3\n"
    )
    named = '[pipelines.a]\nlayers = [{ use = "bounded", limit = 3, by = "plan" }]'
    assert 1 == check(named)[0]
    assert "by=by_plan" in check(named, "--registry", "my_app:registry")[1]
    elsewhere = named.replace("plan", "my_app:by_plan")
    assert 1 == check(elsewhere)[0]
    assert 0 == check(elsewhere, "--allow", "my_app")[0]
    for wrong in ("my_app:number", "my_app:nothing", "nowhere:registry", "x"):
        assert 2 == check(named, "--registry", wrong)[0]


def test_yaml_and_json_and_other_names_are_checked_alike(check):
    """The format is told by the ending, or by an option."""
    assert 0 == check("pipelines: {a: {layers: [{use: bounded, limit: 3}]}}", name="a.yaml")[0]
    assert 0 == check('{"pipelines": {"a": {"layers": []}}}', name="a.json")[0]
    assert 1 == check(SMALL, name="a.conf")[0]
    assert 0 == check(SMALL, "--format", "toml", name="a.conf")[0]


def test_the_schema_is_printed():
    """Ready to be redirected into a file."""
    done = CliRunner().invoke(schema_command)
    assert 0 == done.exit_code
    assert "urn:sluiceway:pipelines:1" == json.loads(done.stdout)["$id"]

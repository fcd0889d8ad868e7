"""`sluiceway batch`."""

from __future__ import annotations

import json
import os
import re

import pytest
from click.testing import CliRunner

from sluiceway.batch import BatchRun, Paths, Progress
from sluiceway.batch.verdicts import Stop
from sluiceway.cli.batch import batch_command
from sluiceway.cli.batch.arguments import settings_of, target_of
from sluiceway.cli.batch.display import picture
from sluiceway.cli.batch.gauge import Gauge
from sluiceway.cli.batch.summary import exit_code, summary, warn
from sluiceway.cli.batch.words import duration, line, rows
from sluiceway.events import ErrorRateHigh
from sluiceway.simulator import spawn
from sluiceway.telemetry.stats import Stats, Tokens, Waits


def options_of(*arguments):
    """Return the options as the command sees them."""
    context = batch_command.commands["run"].make_context("run", ["p.jsonl", "-o", "out.jsonl", *arguments])
    return context.params


def run(*arguments, **environment):
    """Run the command and return its exit code and what it printed."""
    done = CliRunner().invoke(
        batch_command, arguments, env={"OPENAI_BASE_URL": None, "OPENAI_API_KEY": None, **environment}
    )
    return done.exit_code, done.output


def test_options_are_the_request_and_the_pipeline():
    """Without any config file."""
    target = target_of(
        options_of(
            *("--model", "m", "--base-url", "http://x/v1", "--system", "be brief", "--max-tokens", "50"),
            *("--param", "top_p=0.5", "--rpm", "600", "--tpm", "1e6", "--concurrency", "7", "--attempts", "3"),
        )
    )
    pipeline = target.pop("pipeline")
    assert {
        "ask": "m",
        "base_url": "http://x/v1",
        "endpoint": None,
        "system": "be brief",
        "parameters": {"max_tokens": 50, "top_p": 0.5},
    } == target
    names = [layer.name for layer in pipeline.layers]
    assert ["retry_jitter", "rate_limited", "circuit_breaker", "timed"] == names
    assert 3 == pipeline.attempts
    limits = pipeline.layers[1].settings()
    assert (600, 1e6, 7) == (limits["rpm"], limits["tpm"], limits["in_flight"])


def test_a_bound_is_enough_where_no_rate_is_given():
    """A hundred calls in flight."""
    pipeline = target_of(options_of("--model", "m"))["pipeline"]
    assert {"limit": 100} == {key: pipeline.layers[1].settings()[key] for key in ("limit",)}


def test_settings_are_those_of_the_library():
    """An --abort-over of 1 is never; what is not given is left to the library."""
    settings = settings_of(options_of("--model", "m", "--concurrency", "200", "--abort-over", "1", "--fsync", "100"))
    assert (None, "100") == (settings["abort_over"], settings["fsync"])
    assert "rows_under_way" not in settings


def test_a_number_alone_is_seconds():
    """As everywhere else; with a unit it stays as it is written."""
    given = options_of("--model", "m", "--drain", "0", "--patience", "5", "--disk-patience", "1.5m", "--timeout", "7")
    assert (0.0, 5.0, "1.5m", 7.0) == tuple(given[name] for name in ("drain", "patience", "disk_patience", "timeout"))
    assert 7.0 == target_of(given)["pipeline"].layers[3].limit


def test_an_option_without_effect_is_told(tmp_path):
    """It is no reason not to begin, and whoever gave it meant something."""
    given = ("p.jsonl", "-o", str(tmp_path / "out.jsonl"), "--model", "m")
    assert "warning: --poll has no effect with --via calls\n" in run(*given, "--poll", "5")[1]
    told = run(*given, "--via", "batch-api", "--drain", "5", "--alert-exit", "--poll", "5")[1]
    assert "warning: --drain has no effect with --via batch-api\n" in told
    assert "warning: --alert-exit has no effect with --via batch-api\n" in told
    assert "--poll" not in told
    assert "no effect" not in run(*given)[1]


def test_a_config_file_brings_the_pipeline(tmp_path):
    """By its name if it has several; limits beside it are refused."""
    path = tmp_path / "pipeline.toml"
    path.write_text('[pipelines.chat]\nlayers = [{ use = "bounded", limit = 3 }]\n')
    given = ("--model", "m", "--config", str(path))
    assert "chat" in repr(target_of(options_of(*given))["pipeline"])
    code, output = run("p.jsonl", "-o", "out.jsonl", *given, "--rpm", "5")
    assert (2, True) == (code, "--rpm is for batches without --config" in output)
    code, output = run("p.jsonl", "-o", "out.jsonl", *given, "--pipeline", "other")
    assert (2, True) == (code, "one of chat" in output)
    path.write_text("")
    code, output = run("p.jsonl", "-o", "out.jsonl", *given)
    assert (2, True) == (code, f"{path} has no pipelines: write one, as [pipelines.chat]" in output)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "--model is missing"),
        (("--model", "m", "--param", "x"), "NAME=JSON"),
        (("--model", "m", "--pipeline", "x"), "--config too"),
        (("--model", "m", "--endpoint", "embeddings", "--max-tokens", "7"), "--max-tokens is about answers in words"),
        (("--model", "m", "--base-url", "localhost:8911/v1"), "base_url='localhost:8911/v1' must begin with http://"),
        (("--model", "m", "--policy", "openai"), "--policy is for limits"),
        (("--model", "m", "--drain", "soon"), "'--drain': 'soon' must be a number of seconds, or a duration such as"),
        (("--model", "m", "--timeout", "0"), "'--timeout': '0' must be a number of seconds"),
        (("--model", "m", "--timeout", "-1s"), "'--timeout': '-1s' must be"),
        (("--model", "m", "--patience", "inf"), "'--patience': 'inf' must be"),
        (("--model", "m", "--poll", "bogus"), "'--poll': 'bogus' must be"),
        (("--model", "m", "--abort-over", "-1"), "'--abort-over': -1.0 is not in the range"),
        (("--model", "m", "--via", "batch-api", "--abort-over", "7"), "'--abort-over': 7.0 is not in the range"),
        (("--model", "m", "--via", "batch-api", "--fsync", "bogus"), "'--fsync': 'bogus' must be never, always"),
        (("--model", "m", "--via", "batch-api", "--policy", "openai"), "--policy is about calls"),
    ],
)
def test_wrong_usage_is_2(tmp_path, arguments, text):
    """With the option's name."""
    source = tmp_path / "p.jsonl"
    source.write_text('"x"\n')
    code, output = run(
        str(source), "-o", str(tmp_path / "out.jsonl"), *arguments, OPENAI_BASE_URL="http://127.0.0.1:9/v1"
    )
    assert (2, True) == (code, text in output)


@pytest.mark.parametrize(
    ("environment", "text"), [({}, "OPENAI_API_KEY"), ({"OPENAI_API_KEY": "x"}, "nothing.jsonl cannot be read")]
)
def test_what_cannot_begin_is_1(tmp_path, environment, text):
    """No key, no source."""
    source = tmp_path / "p.jsonl"
    source.write_text('"x"\n')
    name = source if not environment else tmp_path / "nothing.jsonl"
    code, output = run(str(name), "-o", str(tmp_path / "out.jsonl"), "--model", "m", **environment)
    assert (1, True) == (code, text in output)


def test_help_names_the_exit_codes_and_the_other_command():
    """Both forms of the command are there."""
    code, output = run("--help")
    assert (0, True, True) == (code, "143  stopped by SIGTERM" in output, "retry-dead" in output)
    assert "RESULTS" in run("retry-dead", "--help")[1]


@pytest.mark.real
async def test_the_command_answers_a_file_and_tries_dead_letters_again(tmp_path):
    """From a CSV file with a template, to the end; what the provider refused once it may answer later."""
    import asyncio

    source, out = tmp_path / "p.csv", tmp_path / "out.jsonl"
    source.write_text("id,text\n" + "".join(f"r{i},words {i}\n" for i in range(40)))
    async with spawn(errors={400: 0.5}, seed=2) as sim:
        given = ("--model", "gpt-4o-mini", "--base-url", sim.base_url)
        answer = (str(source), "-o", str(out), *given, "--prompt-template", "Say {text}", "--abort-over", "1")
        code, output = await asyncio.to_thread(run, *answer)
        assert 3 == code
        dead = int(re.search(r"(\d+) dead letters", output)[1])
        assert 1 <= dead < 40
        assert f"{40 - dead} answered" in output
        await sim.set(errors={})
        code, output = await asyncio.to_thread(run, "retry-dead", str(out), *given, "--prompt-template", "Say {text}")
        assert (0, True) == (code, f"{dead} answered" in output)
    assert {f"r{i}" for i in range(40)} == {json.loads(line_)["id"] for line_ in out.read_text().splitlines()}


@pytest.mark.real
@pytest.mark.parametrize("streams", ["2> /dev/full", "> /dev/full 2>&1", ">&- 2>&-", "2>&1 | true"])
async def test_a_batch_that_cannot_tell_how_far_it_is_ends_as_it_would(tmp_path, streams):
    """A full or closed standard error made a complete batch one that could not begin."""
    import asyncio
    import sys

    source, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'"row {i}"\n' for i in range(30)))
    async with spawn() as sim:
        given = f"{source} -o {out} --model gpt-4o-mini --base-url {sim.base_url}"
        command = f'"{sys.executable}" -m sluiceway batch {given} {streams}; exit ${{PIPESTATUS[0]}}'
        process = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.DEVNULL)
        assert 0 == await process.wait()
    assert 30 == len(out.read_text().splitlines())
    assert json.loads(Paths.of(out).manifest.read_text())["runs"][-1]["complete"]


# ------------------------------------------------------------------ what is shown


def progress(done=100, elapsed=10.0, **changes):
    """Return a batch in the midst of its work."""
    stats = Stats(
        attempts=done + 10,
        retries=10,
        tokens=Tokens(input=10 * done, output=20 * done),
        cost=0.001 * done,
        waits={"rate_limited": Waits(50, 100.0, 4.0)},
        attempt_errors={"InternalServerError 503": 9, "TimedOut (total)": 1},
    )
    facts = {
        "total": 1000,
        "share": None,
        "read": done + 30,
        "before": 0,
        "answered": done,
        "dead": 0,
        "under_way": 30,
        "asking": 12,
        "waiting": {},
        "elapsed": elapsed,
        "limits": {"rpm": 660, "tpm": 20_000},
        "stats": stats,
    }
    return Progress(**{**facts, **changes})


def gauge_of(*moments):
    gauge = Gauge(iter(moments).__next__)
    for _ in moments[1:]:
        gauge.look()
    return gauge


def test_a_line_has_what_one_wants_to_know():
    """Rows, rates against their limits, what is in flight, errors, money, and the time that is left."""
    assert (
        "    10 s  100 of 1,000 rows (10.0%) · 600 of 660 requests/min (91%), 18,000 of 20,000 tokens/min (90%)"
        " · 12 in flight · 10 attempts failed · $0.1000 of about $1.0000 · 1 m 30 s left"
    ) == line(gauge_of(progress(0, 0.0, stats=Stats(attempts=10)), progress()))


def test_a_line_says_why_it_waits():
    """And how many dead letters there are."""
    text = line(gauge_of(progress(waiting={"circuit open": 30, "disk": 1}, dead=2, limits={})))
    assert "waiting: circuit open x30, disk x1 · 2 dead letters" in text
    assert "requests/min" in text


def test_a_source_of_unknown_length_has_no_end_yet():
    """Its rows are counted, or weighed by how much of the file was read."""
    assert "100 rows · " in line(gauge_of(progress(total=None)))
    assert "100 of 1,300 rows" in line(gauge_of(progress(total=None, share=0.1)))


def test_the_terminal_shows_a_row_for_each_thing():
    """Trouble only where there is some."""
    assert ["rows", "rate", "now", "mean wait", "attempts", "errors", "tokens", "cost"] == [
        name for name, _, _ in rows(gauge_of(progress()))
    ]
    names = [name for name, _, _ in rows(gauge_of(progress(waiting={"disk": 1}, dead=1)))]
    assert {"paused", "dead letters"} <= set(names)


def test_the_end_that_begins_is_announced():
    """With its reason, so that nobody thinks the signal was lost."""
    gauge = gauge_of(progress(stopping="SIGTERM: draining"))
    assert line(gauge).endswith(" · ending: SIGTERM: draining")
    assert ("ending", "SIGTERM: draining", "yellow") == list(rows(gauge))[-1]


def test_an_alert_is_a_line_on_standard_error(capsys):
    """In numbers."""
    warn(ErrorRateHigh(1.0, None, "batch-1", 0.12, 200, 0.05))
    assert "warning: 12% of the 200 calls of the last minute failed, more than 5%\n" == capsys.readouterr().err


def test_the_picture_can_be_drawn():
    """In a narrow terminal too."""
    console = pytest.importorskip("rich.console").Console(width=60, file=open(os.devnull, "w"), record=True)  # noqa: SIM115, PTH123 - nowhere
    console.print(picture(gauge_of(progress())))
    assert "100 of 1,000 rows" in console.export_text()
    console.file.close()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (89, "89 s"), (125, "2 m 05 s"), (7300, "2 h 01 m")])
def test_durations_as_people_say_them(seconds, text):
    """No more digits than anybody wants."""
    assert text == duration(seconds)


def outcome(**changes):
    facts = {"rows": 9, "before": 0, "answered": 9, "dead": 0, "pending": 0, "dead_in_all": 0, "complete": True}
    facts |= {"stopped": None, "signal": None, "alerts": 0, "repaired": 0, "elapsed": 1.0, "stats": Stats()}
    return BatchRun(Paths.of("out.jsonl"), **{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"dead_in_all": 1}, 3),
        ({"stopped": Stop("quota", "no money"), "dead_in_all": 1}, 4),
        ({"stopped": Stop("disk", "full")}, 5),
        ({"stopped": Stop("source", "gone")}, 5),
        ({"alerts": 1}, 6),
        ({"alerts": 1, "dead_in_all": 1}, 3),
        ({"signal": 2, "stopped": Stop("signal", "SIGINT")}, 130),
        ({"signal": 15, "stopped": Stop("signal", "SIGTERM")}, 143),
    ],
)
def test_exit_codes(changes, code):
    """As the help says; an alert counts only if asked for, and if there is nothing worse."""
    assert code == exit_code(outcome(**changes), alert_exit=True)
    assert (0 if code == 6 else code) == exit_code(outcome(**changes), alert_exit=False)


def test_a_summary_says_what_is_left_and_where_everything_is():
    """And why it ended."""
    text = summary(outcome(before=3, pending=2, dead_in_all=1, alerts=1, stopped=Stop("quota", "no money")))
    for part in (
        "9 answered",
        "3 were settled",
        "1 dead letters, out.dead.jsonl",
        "2 were begun",
        "too high",
        "no money",
    ):
        assert part in text

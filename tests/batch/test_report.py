"""A batch's report: what it adds up, what it says, and that it holds no text of anybody."""

import json
import re
import sys

import pytest
from click.testing import CliRunner

from sluiceway.batch import BatchError
from sluiceway.batch.dead_letters import DeadLetter, Failure
from sluiceway.batch.manifest import Manifest
from sluiceway.batch.paths import Paths
from sluiceway.batch.report import gather, page, write_report
from sluiceway.batch.report.charts import charts
from sluiceway.batch.report.gathered import Histogram
from sluiceway.batch.rows import ResultRow
from sluiceway.cli.report import report_command
from sluiceway.errors import MissingExtra
from sluiceway.providers.usage import Usage

START = 1_700_000_000.0
SECRET = "the-text-of-a-prompt"


def row(n, **changes):
    """Return an answered row; a second after the one before."""
    fields = {
        "usage": Usage(100 + n, 10 * (n + 1)),
        "cost_usd": 0.001 * n,
        "attempts": 1 + n % 3 // 2,
        "latency_s": 1.0 + n / 10,
        "model": "m" if n % 2 else "<b>bold</b>",
        "waited_s": {"rate_limited": 0.5, "backoff": 0.1},
        "finished_at": START + n,
    }
    return ResultRow(f"id-{n}", n, f"{SECRET} {n}", **(fields | changes))


def batch(folder, rows, letters=(), runs=()):
    """Write the files of a batch and return their paths."""
    paths = Paths.of(folder / "answers.jsonl")
    paths.results.write_bytes(b"".join(each.to_line() for each in rows))
    if letters:
        paths.dead.write_bytes(b"".join(each.to_line() for each in letters))
    if runs:
        Manifest({"path": "prompts.jsonl"}, {}, tuple(runs)).write(paths.manifest)
    return paths


def letter(n, **changes):
    """Return a dead letter."""
    error = Failure("openai.BadRequestError", f"about {SECRET}", "ours_to_fix", 400, "too_long")
    fields = {"error": error, "attempts": 2, "finished_at": START + n, "request": {"prompt": SECRET}}
    return DeadLetter(f"dead-{n}", n, **(fields | changes))


RUN = {
    "started_at": "2026-11-22T15:09:45.901+00:00",
    "ended_at": "2026-11-22T15:10:18.495+00:00",
    "elapsed_s": 32.5,
    "answered": 30,
    "dead": 3,
    "pending": 0,
    "stopped": None,
    "pipeline": [{"layer": "bounded", "limit": 3}, {"layer": "rate_limited", "rpm": 600, "tpm": 90_000.0, "rps": 5}],
    "stats": {"attempt_errors": {"InternalServerError 500": 7}},
}


@pytest.fixture
def paths(tmp_path):
    """A batch of thirty rows, three dead letters and two runs, the first of which was killed."""
    bad = letter(32, stage="read", attempts=0, finished_at=0.0, error=Failure("not JSON", "x"))
    killed = {"started_at": "2026-11-22T14:00:00.000+00:00", "pipeline": []}
    return batch(tmp_path, [row(n) for n in range(30)], [letter(30), letter(31), bad], [killed, RUN])


# ------------------------------------------------------------------ what is read


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"usage": 5}, "usage=5 must be an object of whole numbers or null"),
        ({"usage": {"input_tokens": "many"}}, "usage is a dict and must be an object of whole numbers"),
        ({"finished_at": 1e30}, "finished_at=1e+30 must be seconds since 1970"),
        ({"latency_s": SECRET}, "latency_s is a str and must be a number"),
        ({"cost_usd": float("nan")}, "cost_usd=nan must be a number"),
        ({"waited_s": {"bounded": None}}, "waited_s is a dict and must be an object of numbers"),
        ({"attempts": []}, "attempts=[] must be a whole number"),
        ({"model": ["m"]}, "model is a list and must be a text or null"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_line(tmp_path, fields, told):
    """Not a traceback from where it is used; the text of anybody is not in it."""
    paths = batch(tmp_path, [row(0)])
    with paths.results.open("a") as file:
        file.write(json.dumps({"id": "x", "output": SECRET, **fields}) + "\n")
    done = CliRunner().invoke(report_command, [str(paths.results)])
    assert (1, True) == (done.exit_code, f"answers.jsonl, line 2: {told}" in done.output)
    assert SECRET not in done.output


def test_dead_letters_are_looked_at_too(tmp_path):
    """They are added up with the rows."""
    paths = batch(tmp_path, [row(0)], [letter(1)])
    with paths.dead.open("a") as file:
        file.write('{"id": 1, "error": {"type": "x"}, "usage": 5}\n')
    with pytest.raises(ValueError, match=r"answers\.dead\.jsonl, line 2: usage=5 must be"):
        gather(paths)


@pytest.mark.parametrize("field", ["source", "settings"])
def test_a_manifest_that_is_none_is_named_with_its_field(tmp_path, field):
    """Both for a report and for the next run of the batch."""
    paths = batch(tmp_path, [row(0)])
    paths.manifest.write_text(json.dumps({"format": 1, "source": {}, "settings": {}} | {field: []}))
    with pytest.raises(BatchError, match=rf"answers\.manifest\.json is no manifest of a batch \({field}=\[\] must be"):
        gather(paths)


def test_a_run_that_is_none_is_left_out(tmp_path):
    """A batch and its report can do without that history."""
    odd = [5, {"elapsed_s": "x"}, {"pipeline": 5}, {"stopped": 5}, {"stats": {"attempt_errors": {"a": "b"}}}]
    assert 1 == len(gather(batch(tmp_path, [row(0)], runs=[*odd, RUN])).runs)


def test_rows_of_two_centuries_are_drawn_at_once(tmp_path):
    """A pause counts for nothing, however long: its seconds were walked through."""
    found = gather(batch(tmp_path, [row(0), row(1), row(2, finished_at=250_000_000_000.0)]))
    drawn = json.loads(next(iter(charts(found)))[2])
    assert 3 == len(drawn["data"][0]["x"])


# ------------------------------------------------------------------ what is added up


def test_rows_and_dead_letters_are_added_up(paths):
    """Counts, attempts, waits, tokens and cost by model, errors by kind."""
    found = gather(paths)
    assert (30, 3, 40 + 4) == (found.answered, found.dead, found.attempts)
    assert {"rate_limited": pytest.approx(15), "backoff": pytest.approx(3)} == dict(found.waits)
    assert {"m": 15, "<b>bold</b>": 15} == {name: model.rows for name, model in found.models.items()}
    assert 0.435 == pytest.approx(found.cost)
    assert {"openai.BadRequestError 400 too_long": 2, "bad row: not JSON": 1} == dict(found.errors)
    assert {1: 20, 2: 10} == dict(found.by_attempts)
    assert {"InternalServerError 500": 7} == dict(found.failed_attempts)
    assert sum(tokens for _, tokens in found.seconds.values()) == sum(100 + n + 10 * (n + 1) for n in range(30))
    assert 32.5 == found.working


def test_the_limits_are_those_of_the_last_run_a_minute(paths):
    """Five a second are less than 600 a minute."""
    assert {"requests": 300.0, "tokens": 90_000.0} == gather(paths).limits


def test_the_slowest_and_dearest_rows_are_the_first_ten_of_each(paths):
    """By their ids; of equal ones the first."""
    found = gather(paths)
    assert [f"id-{n}" for n in range(29, 19, -1)] == [each.id for each in found.slowest]
    assert [f"id-{n}" for n in range(29, 19, -1)] == [each.id for each in found.dearest]


def test_latency_is_told_with_and_without_waiting(paths):
    """Half of the rows took so long."""
    found = gather(paths)
    assert 2.4 == pytest.approx(found.latency.p50, rel=0.05)
    assert 1.8 == pytest.approx(found.at_provider.p50, rel=0.05)


def test_a_histogram_holds_every_value_above_0_in_its_bin():
    """Bins grow by a constant factor, and none is missing in between."""
    histogram = Histogram()
    for value in (0, 1, 1.5, 100, -3):
        histogram.add(value)
    bars = histogram.bars()
    assert 3 == sum(count for _, _, count in bars)
    assert all(low < high for low, high, _ in bars)
    assert (1.0, 25) == (pytest.approx(bars[0][0]), len(bars))
    assert [] == Histogram().bars()


# ------------------------------------------------------------------ what it says


def test_the_page_says_what_there_is_and_nothing_that_is_private(paths):
    """Neither prompts, answers nor messages of errors; names are escaped."""
    text = write_report(paths.results).read_text()
    ours = re.sub(r'id="plotly">[^<]*<', "", text)
    assert SECRET not in ours
    assert "<b>bold</b>" not in ours.replace("<\\/", "</").partition("<table>")[2]
    for told in ("30", "90.9% of 33 rows", "prompts.jsonl", "2 runs", "id-29", "too_long", "killed, or still running"):
        assert told in ours


def test_the_page_may_ask_nobody_for_anything(paths):
    """No address of another place is in it, and the browser is told to refuse any."""
    ours = re.sub(r'id="plotly">[^<]*<', "", write_report(paths.results).read_text())
    assert "default-src 'none'" in ours
    assert [] == re.findall(r"https?://|src=|@import|url\(", ours)


@pytest.mark.parametrize("name", ["</script>", "<!--<script>", "<!--"])
def test_no_name_reaches_into_the_page(tmp_path, name):
    """A model may be called as it likes: what begins a tag or a comment stands in no script and in no cell."""
    made = page(gather(batch(tmp_path, [row(1, model=name), row(2, model="m")])), "Batch")
    _, *figures = made.split('<script type="application/json"')
    figures = [figure.partition("</script>")[0] for figure in figures]
    assert any(name.replace("<", "\\u003c") in figure for figure in figures)
    assert not any("<" in figure for figure in figures)
    assert f"<td>{name}" not in made


def test_half_a_surrogate_pair_keeps_no_page_from_being_written(tmp_path):
    """JSON may hold one, in an id or in the name of a model; it is shown as it is written there."""
    rows = [ResultRow("\ud800 id", 0, "x", model="\ud800 m", cost_usd=1.0, latency_s=1.0, finished_at=START), row(1)]
    target = write_report(batch(tmp_path, rows).results)
    text = target.read_text(encoding="utf-8")
    assert "\\ud800 id" in text
    assert "\\ud800 m" in text


def test_the_charts_are_those_that_have_something_to_show(paths):
    """Rates with their limits, latency, tokens, waits, failed attempts, and costs where there are several models."""
    drawn = {title: json.loads(figure) for title, _, figure in charts(gather(paths))}
    assert [
        "Requests per minute",
        "Tokens per minute",
        "Latency",
        "Tokens of a row",
        "Waits",
        "Failed attempts",
        "Cost by model",
    ] == list(drawn)
    requests = drawn["Requests per minute"]
    assert "limit 300" == requests["layout"]["annotations"][0]["text"]
    assert "template" not in requests["layout"]


def test_rates_over_time_add_up_to_the_attempts(paths):
    """Whatever the width of a point is; the last one is shorter."""
    found = gather(paths)
    (_, note, figure), *_ = charts(found)
    values = json.loads(figure)["data"][0]["y"]
    width = int(re.search(r"over (\d+) s", note)[1])
    sizes = [min(width, 32 - at) for at in range(0, 32, width)]
    assert 44 == pytest.approx(sum(value * size / 60 for value, size in zip(values, sizes, strict=True)))


def test_a_pause_between_two_runs_is_left_out(tmp_path):
    """A batch that was resumed the next day is shown in detail all the same."""
    rows = [row(n) for n in range(100)] + [row(n, finished_at=START + 86_400 + n) for n in range(100)]
    (_, note, figure), *_ = charts(gather(batch(tmp_path, rows)))
    assert "over 5 s each" in note
    drawn = json.loads(figure)
    assert 1 == len(drawn["layout"]["xaxis"]["rangebreaks"])
    assert 45 > len(drawn["data"][0]["x"])


def test_rows_without_usage_cost_or_times_are_no_error(tmp_path):
    """What is not known is said to be unknown."""
    plain = ResultRow("a", 0, "x")
    text = page(gather(batch(tmp_path, [plain])), "Batch")
    assert "unknown" in text
    assert "(unknown)" in text


def test_an_empty_batch_has_a_page_too(tmp_path):
    """With nothing in it, and without a script for charts."""
    text = page(gather(batch(tmp_path, [])), "Batch")
    assert "no rows" in text
    assert len(text) < 20_000


# ------------------------------------------------------------------ the command


def test_the_command_writes_beside_the_results_or_where_it_is_told(paths, tmp_path):
    """And prints where."""
    done = CliRunner().invoke(report_command, [str(paths.results)])
    assert (0, str(tmp_path / "answers.report.html")) == (done.exit_code, done.output.strip())
    other = tmp_path / "other.html"
    assert 0 == CliRunner().invoke(report_command, [str(paths.results), "-o", str(other)]).exit_code
    assert other.exists()


def test_the_command_says_what_is_missing(tmp_path):
    """No results, or a file that is none."""
    done = CliRunner().invoke(report_command, [str(tmp_path / "none.jsonl")])
    assert "there is no" in done.output
    (tmp_path / "bad.jsonl").write_text('{"no": "row"}\n')
    done = CliRunner().invoke(report_command, [str(tmp_path / "bad.jsonl")])
    assert "line 1" in done.output
    assert 1 == done.exit_code


def test_without_plotly_the_error_says_what_to_install(paths, monkeypatch):
    """A missing extra names the command."""
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sluiceway\[report\]'"):
        write_report(paths.results)

"""`sluiceway plan` in a terminal."""

import json

import pytest
from click.testing import CliRunner

from sluiceway.batch.rows import ResultRow
from sluiceway.cli.plan import plan_command
from sluiceway.providers.usage import Usage

pytestmark = pytest.mark.filterwarnings("ignore::sluiceway.PipelineWarning")  # about the pipeline, told elsewhere


@pytest.fixture
def prompts(tmp_path):
    """A file of three hundred prompts and a row that is none."""
    path = tmp_path / "prompts.jsonl"
    rows = [json.dumps({"id": n, "prompt": f"Name river number {n}."}) for n in range(300)]
    path.write_text("\n".join([*rows, "{broken"]) + "\n")
    return path


def planned(*arguments):
    """Run the command and return what it prints."""
    done = CliRunner().invoke(plan_command, list(map(str, arguments)))
    assert 0 == done.exit_code, done.output
    return done.output


def failed(*arguments):
    """Run the command, which fails, and return what it prints."""
    done = CliRunner().invoke(plan_command, list(map(str, arguments)))
    assert 0 != done.exit_code
    return done.output


def test_tokens_time_and_money_are_told_before_anything_is_sent(prompts):
    """Without a key and without a network."""
    told = planned(prompts, "--model", "gpt-4o-mini", "--rpm", 600, "--tpm", 60_000, "--output-tokens", "50..150")
    assert "300 to ask; 1 bad (not JSON: 1)" in told
    assert "30,000 (as told; from 15,000 to 45,000)" in told
    assert "at the shortest, by tpm" in told
    assert "gpt-4o-mini             $0.0" in told
    assert "half the price; 1 batch, each within 24 h" in told


def test_a_source_that_cannot_be_read_on_is_one_line(tmp_path):
    """A quote that is open was a traceback; what is wrong with the file is in the message."""
    source = tmp_path / "p.csv"
    source.write_text("id,id\n1,2\n")
    told = failed(source, "--model", "m", "--prompt-template", "{id}")
    assert f"Error: {source} cannot be read on: " in told
    assert "two columns of the header have one name" in told


def test_a_rehearsal_takes_its_time_from_the_virtual_clock(prompts):
    """It agrees with the forecast, and says what the provider made of it."""
    told = json.loads(
        planned(prompts, "--model", "m", "--rpm", 600, "--output-tokens", 20, "--latency", "1s", "--simulate", "--json")
    )
    assert "rpm" == told["binding"]
    assert told["shortest_s"] == pytest.approx(told["simulated"]["seconds"], rel=0.03)
    assert 300 == told["simulated"]["answered"] == told["simulated"]["ledger"]["answered"]


def test_the_simulated_provider_can_be_another_than_the_pipeline_expects(prompts):
    """It refuses what is above its limits, and fails as often as it is told to."""
    settings = ["rpm=300", "burst=1s", 'errors={"500": 0.1}', "latency=20ms"]
    words = [word for setting in settings for word in ("--provider", setting)]
    told = planned(prompts, "--model", "m", "--rpm", 1200, "--simulate", *words)
    assert ", requests: " in told
    assert "answered" in told


def test_answers_can_be_measured_on_rows_that_were_answered(prompts, tmp_path):
    """The mean of a trial, with its interval."""
    results = tmp_path / "trial.jsonl"
    rows = [ResultRow(n, n, "x", Usage(9, 80 + n % 5 * 10), latency_s=2.0) for n in range(100)]
    results.write_bytes(b"".join(row.to_line() for row in rows))
    told = planned(prompts, "--model", "m", "--like", results, "--concurrency", 10)
    assert "30,000 (measured on 100 answers; from 29,1" in told
    assert "58.0 s" in told


def test_the_pipeline_of_a_file_is_planned_with(prompts, tmp_path):
    """Its limits bind; naming one that is not there says which are."""
    config = tmp_path / "pipeline.toml"
    config.write_text(
        """
        [[pipelines.nightly.layers]]
        use = "rate_limited"
        rpm = 60
        """
    )
    told = json.loads(planned(prompts, "--model", "m", "--config", config, "--simulate", "--json"))
    assert ("rpm", 300) == (told["binding"], told["simulated"]["answered"])
    assert "nightly" in failed(prompts, "--model", "m", "--config", config, "--pipeline", "daily")
    assert "write it into" in failed(prompts, "--model", "m", "--config", config, "--rpm", "5")


def test_a_model_can_be_compared_with_others(prompts):
    """For the same rows; one whose price nobody knows is said to be unknown."""
    told = planned(prompts, "--model", "gpt-4o-mini", "--compare", "gpt-4o", "--compare", "my-own")
    assert "(to compare)" in told
    assert "my-own                  price unknown" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere.jsonl"], "cannot be read"),
        (["--provider", "rpm", "--simulate"], "SETTING=VALUE"),
        (["--provider", "rmp=3", "--simulate"], "'rmp' is no setting"),
        (["--output-tokens", "many"], "output_tokens='many'"),
        (["--prompt-template", "no column"], "names no column"),
        (["--rpm", "-1"], "rpm=-1.0"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(prompts, arguments, message):
    """Without a traceback."""
    source = [] if arguments[0].startswith("/") else [prompts]
    told = failed(*source, *arguments, "--model", "m")
    assert message in told
    assert "Traceback" not in told

"""What the environment overrides, and what is kept there because it is secret."""

from __future__ import annotations

import pickle

import pytest

from config_files import SMALL
from sluiceway import ConfigError, describe
from sluiceway.config import load
from sluiceway.config.secrets import Secret

KEY = "sk-very-secret-0123456789"


def small(**environ):
    """Return the small file under these variables."""
    return load(text=SMALL, format="toml", environ=environ)


def test_a_variable_overrides_a_setting_by_its_way():
    """A shared limit, a layer by its name, the session; numbers are numbers and durations stay as they are."""
    config = small(
        SLUICEWAY_LIMITS__OPENAI__RPM="1_200",
        SLUICEWAY_PIPELINES__CHAT__BOUNDED__LIMIT="50",
        SLUICEWAY_PIPELINES__CHAT__TIMED__LIMIT="90s",
        sluiceway_session__name="from here",
    )
    timed, bounded, rate = (layer.settings() for layer in config.pipelines["chat"].layers)
    assert ("90s", 50, 1_200) == (timed["limit"], bounded["limit"], rate["rpm"])
    assert "from here" == config.session().name


def test_a_pipeline_that_extends_another_has_its_overrides_too():
    """They count as if they stood in the file."""
    text = SMALL + '\n[pipelines.nightly-run]\nextends = "chat"\n'
    config = load(text=text, format="toml", environ={"SLUICEWAY_PIPELINES__CHAT__BOUNDED__LIMIT": "50"})
    assert 50 == config.pipelines["nightly-run"].layers[1].limit
    both = {"SLUICEWAY_PIPELINES__CHAT__BOUNDED__LIMIT": "50", "SLUICEWAY_PIPELINES__NIGHTLY_RUN__BOUNDED__LIMIT": "9"}
    assert [50, 9] == [
        handle.layers[1].limit for handle in load(text=text, format="toml", environ=both).pipelines.values()
    ]


def test_a_setting_inside_of_a_table_is_reached_too():
    """Two underscores between each two parts."""
    text = SMALL.replace("limit = 30", 'limit = 30, queue = { use = "priority", aging = "10s" }')
    config = load(
        text=text, format="toml", environ={"SLUICEWAY_PIPELINES__CHAT__BOUNDED__QUEUE__AGING": "5s"}
    )  # fmt: skip
    assert 5.0 == config.pipelines["chat"].layers[1].settings()["queue"].aging


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SLUICEWAY_LIMITS__OPENAI__RPM", "fast", "environment variable {}: 'fast' must be a number"),
        ("SLUICEWAY_LIMITS__OPENAI__RPM", "0", "environment variable {}: rpm=0 must be above 0"),
        ("SLUICEWAY_LIMITS__OPENAI__RPMM", "3", "environment variable {}: rate_limited has no setting 'rpmm'"),
        ("SLUICEWAY_LIMITS__OPNAI__RPM", "3", "environment variable {}: it overrides nothing that is there: there is"),
        ("SLUICEWAY_LIMITS__OPENAI", "3", "environment variable {}: it overrides nothing that is there"),
        ("SLUICEWAY_PIPELINES__CHAT__BOUNDED", "3", "environment variable {}: it overrides nothing that is there"),
        ("SLUICEWAY_PIPELINES__CHAT__SHED__TARGET", "3", "environment variable {}: it overrides nothing"),
        ("SLUICEWAY_PIPELINES__CHTA__BOUNDED__LIMIT", "3", "environment variable {}: it overrides nothing"),
        ("SLUICEWAY_PIPELINES__CHAT__OPENAI__RPM", "3", "environment variable {}: limits.openai is shared"),
        ("SLUICEWAY_SESSION__MODL", "x", "environment variable {}: Session has no setting 'modl'"),
        ("SLUICEWAY_SESSION__", "x", "environment variable {}: it overrides nothing"),
    ],
)
def test_a_variable_that_means_nothing_is_an_error_that_names_it(variable, value, expected):
    """A typing error must not leave a limit as it was."""
    with pytest.raises(ConfigError) as raised:
        small(**{variable: value})
    assert expected.format(variable) in str(raised.value)


def test_what_a_variable_says_inside_of_a_table_leaves_the_rest_of_it_as_it_was():
    """The other weights were gone, and that of a tenant with a large letter stayed beside a new one."""
    queue = {"use": "priority", "within": {"use": "fair", "weights": {"Acme": 3, "beta": 2}}}
    file = {
        "limits": {"l": {"use": "bounded", "limit": 1, "queue": queue}},
        "session": {"prices": {"gpt-4o": {"input": 1, "output": 2}}},
    }
    environ = {
        "SLUICEWAY_LIMITS__L__QUEUE__WITHIN__WEIGHTS__ACME": "9",
        "SLUICEWAY_SESSION__PRICES__GPT_4O__INPUT": "5",
    }
    config = load(file, environ=environ)
    assert {"Acme": 9, "beta": 2} == config.limits["l"].settings()["queue"].within.weights
    assert {"gpt-4o": {"input": 5, "output": 2}} == config._now.session["prices"]


def test_several_variables_make_one_table():
    """What to use counts first: alphabetically it came last, and the address was gone."""
    environ = {
        "SLUICEWAY_LIMITS__OPENAI__STORE__URL": "redis://localhost",
        "SLUICEWAY_LIMITS__OPENAI__STORE__USE": "redis",
    }
    assert "sluiceway:limits.openai" == small(**environ).limits["openai"].settings()["store"].prefix


def test_other_variables_of_that_name_are_left_alone():
    """SLUICEWAY_CHAOS switches faults on, and is no override."""
    assert 30 == small(SLUICEWAY_CHAOS="1", SLUICEWAY_LIMITS="x").pipelines["chat"].layers[1].limit


# ------------------------------------------------------------------ secrets


def secret_file(**deployment):
    """Return a file with a deployment whose key is in the environment."""
    one = {"name": "eu", "kwargs": {"api_key": "env:KEY", "model": "gpt-4o"}, **deployment}
    return {"pipelines": {"chat": {"layers": [{"use": "routed", "deployments": [one]}]}}}


def test_a_secret_is_used_and_never_shown():
    """The call gets the value; descriptions, reprs and files written back show the reference."""
    config = load(secret_file(), environ={"KEY": KEY})
    (layer,) = config.pipelines["chat"].layers
    given = layer.deployments[0].kwargs["api_key"]
    assert given == KEY
    assert "Bearer " + KEY == f"Bearer {given}"
    handle = config.pipelines["chat"]
    for shown in (repr(given), repr(layer), str(describe(handle)), repr(handle), repr(config), repr(layer.settings())):
        assert KEY not in shown
    assert "env:KEY" in describe(handle).to_config()
    assert KEY not in describe(handle).to_config()


def test_a_secret_that_is_not_there_is_an_error_of_its_name():
    """With the place at which it is asked for."""
    with pytest.raises(ConfigError, match=r"kwargs\.api_key: 'env:KEY': the environment variable KEY is not set"):
        load(secret_file(), environ={})


def test_an_error_shows_the_reference_in_place_of_the_secret():
    """Also where a layer quotes what it was given."""
    file = {"pipelines": {"chat": {"layers": [{"use": "observed", "detail": "env:KEY"}]}}}
    with pytest.raises(ConfigError) as raised:
        load(file, environ={"KEY": KEY})
    assert KEY not in str(raised.value)
    assert "env:KEY" in str(raised.value)
    store = {"use": "redis", "url": "env:KEY"}
    with pytest.raises(ConfigError) as raised:
        load({"limits": {"l": {"use": "bounded", "limit": 1, "store": store}}}, environ={"KEY": KEY})
    assert KEY not in str(raised.value)
    assert raised.value.__cause__ is None


def test_numbers_may_stand_in_the_environment_too():
    """Where a number is wanted, the text of the variable is read as one."""
    file = {"pipelines": {"chat": {"layers": [{"use": "rate_limited", "rpm": "env:RPM", "learn": "env:LEARN"}]}}}
    (layer,) = load(file, environ={"RPM": "500", "LEARN": "false"}).pipelines["chat"].layers
    assert (500, False) == (layer.settings()["rpm"], layer.settings()["learn"])
    with pytest.raises(ConfigError, match="'env:RPM' must be a number"):
        load(file, environ={"RPM": "many", "LEARN": "true"})


def test_a_secret_is_a_text_that_keeps_its_reference():
    """Pickled, too."""
    secret = pickle.loads(pickle.dumps(Secret(KEY, "env:KEY")))
    assert KEY == secret
    assert "'env:KEY'" == repr(secret)

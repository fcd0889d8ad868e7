"""What is wrong with a file: all of it at once, each with its place, the value, what is allowed, and what was meant."""

from __future__ import annotations

import os

import pytest

from config_files import SMALL
from sluiceway import ConfigError
from sluiceway.config import Registry, load

BROKEN = """\
version = 2
[limits.openai]
use = "rate_limted"
[limits.x]
use = "rate_limited"
rpm = 10
tpn = 4

[pipelines.chat]
layers = [
  { use = "timed", limit = "60 sec" },
  { use = "retry_jitter", attemps = 5, on = ["TimeoutErr"] },
  { use = "bounded", limit = 0 },
  { use = "bounded", limit = 2, by = "tennant" },
  { use = "bounded" },
  { ref = "limits.opnai" },
  { use = "routed", deployments = [{ name = "a", layers = [{ use = "bounded", limit = "x" }] }] },
  { limit = 5 },
]
[pipelines.nightly]
extends = "chatt"
[pipelines.a]
extends = "b"
replace = { bounded = { limit = 1 } }
[pipelines.b]
extends = "a"
[session]
pipeline = "chad"
modl = "x"
[foo]
"""

DURATIONS = 'such as "250ms", "1.5s", "2m", "1h30m"'
LAYERS = '{ use = "bounded", limit = 30 } or { ref = "limits.openai" }'
EXPECTED = [
    "<text>:1: version: 2 must be 1, the version of the schema that this package knows",
    "<text>:3: limits.openai.use: no layer is called 'rate_limted': did you mean 'rate_limited'?",
    "<text>:7: limits.x.tpn: rate_limited has no setting 'tpn': did you mean 'tpm'?",
    "<text>:11: pipelines.chat.layers[0].limit: '60 sec' must be a number of seconds, or a text " + DURATIONS,
    "<text>:12: pipelines.chat.layers[1].attemps: retry_jitter has no setting 'attemps': did you mean 'attempts'?",
    "<text>:13: pipelines.chat.layers[2].limit: limit=0 must be at least 1",
    "<text>:14: pipelines.chat.layers[3].by: 'tennant' stands for nothing: did you mean 'tenant'?",
    "<text>:15: pipelines.chat.layers[4]: bounded needs 'limit': a whole number",
    "<text>:16: pipelines.chat.layers[5].ref: 'limits.opnai' is no shared limit: did you mean 'limits.openai'?",
    "<text>:17: pipelines.chat.layers[6].deployments[0].layers[0].limit: 'x' must be a whole number",
    "<text>:18: pipelines.chat.layers[7]: a layer is a table such as " + LAYERS,
    "<text>:21: pipelines.nightly.extends: 'chatt' is no pipeline: did you mean 'chat'?",
    "<text>:26: pipelines.b.extends: 'a': pipelines extend one another in a circle, a -> b -> a",
    "<text>:28: session.pipeline: 'chad' is no pipeline: did you mean 'chat'?",
    "<text>:29: session.modl: Session has no setting 'modl': did you mean 'model'?",
    "<text>:30: foo: nothing is called 'foo' here: there is limits, pipelines, session, version",
]  # fmt: skip


BOUND = {"use": "bounded", "limit": 3}
QUEUES = "'fifo', 'priority', 'fair', a table such as { use = \"priority\", aging = \"10s\" }, or a registered name"
STORES = 'a table such as { use = "redis", url = "redis://localhost:6379" }, or a registered name'


def problems(*args, **kwargs):
    """Return what is wrong, as texts."""
    with pytest.raises(ConfigError) as raised:
        load(*args, **kwargs)
    return [str(problem) for problem in raised.value.problems]


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file():
    """With file, line, path, value, what is allowed, and what may have been meant."""
    assert EXPECTED == problems(text=BROKEN, format="toml")


def test_one_problem_is_the_message_and_several_are_a_list():
    """A log line for one; a screen for many."""
    with pytest.raises(ConfigError, match=r"^<text>:8: pipelines.chat.layers\[1\].limit: limit=0 must be at least 1$"):
        load(text=SMALL.replace("limit = 30", "limit = 0"), format="toml")
    with pytest.raises(ConfigError, match=r"^16 problems\n  <text>:1: version"):
        load(text=BROKEN, format="toml")


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("a = [", "toml", "<text>: it is no valid TOML: Invalid value"),
        ("a = 1\nb = = 2\n", "toml", "<text>:2: it is no valid TOML: Invalid value"),
        ('{"a": 1,\n"b" 2}', "json", "<text>:2: it is no valid JSON: "),
        ('{"limits": {}, "limits": {}}', "json", "'limits' stands twice in one table"),
        ("a: [1", "yaml", "<text>:1: it is no valid YAML: "),
        ("limits: {}\nlimits: {}\n", "yaml", "<text>:2: 'limits' stands twice in one table"),
        ("- 1", "yaml", "<text>: it must be tables such as `pipelines`, not list"),
        ("", "yaml", "<text>: it must be tables such as `pipelines`, not NoneType"),
        ("a = 1979-05-27", "toml", "<text>:1: a: datetime.date(1979, 5, 27): a date is of no use here"),
        ("[pipelines.chat]\nlayers = 3", "toml", "<text>:2: pipelines.chat.layers: 3 must be a list of layers"),
        ("[pipelines.chat]\nlayers = [3]", "toml", "<text>:2: pipelines.chat.layers[0]: 3 must be a table"),
        ("[pipelines.chat]", "toml", '<text>:1: pipelines.chat: a pipeline needs layers = [...], or extends = "'),
        ("[pipelines.chat]\nlayers = []\nextend = 1", "toml", "'extend' here: did you mean 'extends'?"),
        ('[pipelines."a b"]\nlayers = []', "toml", '<text>:1: pipelines."a b"'),
        ("[pipelines.c]\nlayers = []\nreplace = {a = {}}", "toml", "there is nothing to replace: "),
        ('[limits.x]\nref = "limits.x"', "toml", "<text>:1: limits.x: a layer is a table such as"),
        ("version = 1.5", "toml", "<text>:1: version: 1.5 must be 1"),
    ],
)  # fmt: skip
def test_the_message_names_the_place_and_what_is_allowed(text, form, expected):
    """One by one."""
    assert any(expected in problem for problem in problems(text=text, format=form)), problems(text=text, format=form)


@pytest.mark.parametrize(
    ("layers", "replace", "expected"),
    [
        ([BOUND, {"use": "bounded", "limit": 4}], {"bounded": {"limit": 5}}, "'bounded' stands 2 times: give"),
        ([BOUND], {"bonded": {"limit": 5}}, "no layer 'bonded': did you mean 'bounded'?"),
        ([{"ref": "limits.l"}], {"l": {"limit": 5}}, "'l' is the shared limit limits.l: change it there"),
        ([BOUND], {"bounded": 0}, "replace.bounded: 0 must be a table, or false to leave the layer out"),
        ([BOUND], {"bounded": True}, "replace.bounded: true must be a table, or false to leave the layer out"),
        ([{"ref": "limits.l", "id": []}], {}, "layers[0].id: a list must be a name"),
        ([{"ref": "limits.l", "id": ""}], {}, "layers[0].id: '' must be a name"),
        ([BOUND], {"bounded": {"id": "x"}}, "an id stands with the layer itself"),
        ([BOUND], {"bounded": {"limit": 0}}, "replace.bounded.limit: limit=0 must be at least 1"),
        ([BOUND], {"bounded": {"limt": 5}}, "replace.bounded.limt: bounded has no setting 'limt': did you mean"),
        ([{"ref": "limits.l"}, {"ref": "limits.l"}], {}, "the same bounded object stands twice in one pipeline"),
        ([{"ref": "limits.l", "limit": 4}], {}, "'limit' cannot be set beside `ref`"),
        ([{"use": "timed", "id": "a"}, {"use": "timed", "id": "a"}], {}, "'a' is the id of another layer"),
        ([{"use": "presets.openai_tier(7)"}], {}, "tier=7 must be a whole number from 1 to 5"),
        ([{"use": "presets.batch"}], {}, 'has several layers: write extends = "presets.batch"'),
        ([{"use": "routed", "deployments": []}], {}, "routed() needs a deployment"),
        ([{"use": "bounded", "limit": True}], {}, "limit: true must be a whole number"),
        ([{**BOUND, "queue": "fifoo"}], {}, "queue: 'fifoo' stands for nothing: did you mean 'fifo'?"),
        ([{**BOUND, "queue": "last"}], {}, f"queue: 'last' stands for nothing: it must be {QUEUES}"),
        ([{**BOUND, "queue": 5}], {}, f"queue: 5 must be {QUEUES}"),
        ([{**BOUND, "queue": "model"}], {}, f"queue: 'model' is no queue: it must be {QUEUES}"),
        ([{**BOUND, "queue": {"use": "model"}}], {}, f"queue: 'model' is no queue: it must be {QUEUES}"),
        ([{**BOUND, "queue": {"use": "redis", "url": "redis://x"}}], {}, "queue: 'redis' is no queue: it must be"),
        ([{**BOUND, "store": "redis://me:pw@x"}], {}, f"store: 'redis://...' stands for nothing: it must be {STORES}"),
        ([{**BOUND, "store": {"use": "fifo"}}], {}, f"store: 'fifo' is no store: it must be {STORES}"),
        ([{"use": "observed", "tracer_provider": "last"}], {}, "'last' stands for nothing: there is model, priority,"),
        ([{**BOUND, "queue": {"use": "prioritty"}}], {}, "'prioritty' stands for nothing: did you mean"),
        ([{**BOUND, "queue": {"use": "priority", "agin": 3}}], {}, "Priority has no setting 'agin': did you mean"),
        ([{"use": "retry_jitter", "jitter": "ful"}], {}, "'ful' must be 'full' or 'equal' or 'decorrelated' or 'none'"),
        ([{"use": "retry_jitter", "on": ["KeyboardInterrupt"]}], {}, "'KeyboardInterrupt' stands for nothing"),
        ([{"use": "observed", "tracer_provider": {"use": "sys:exit"}}], {}, "'sys:exit': a file imports nothing of"),
    ],
)  # fmt: skip
def test_what_stands_in_pipelines_is_told_apart(layers, replace, expected):
    """References, replacements, presets, objects and names."""
    limits = {"l": {"use": "bounded", "limit": 3}}
    file = {
        "limits": limits,
        "pipelines": {"chat": {"layers": layers}, "nightly": {"extends": "chat", "replace": replace}},
    }
    assert any(expected in problem for problem in problems(file)), problems(file)


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path):
    """Missing, a folder, no UTF-8, too large, or of an unknown kind."""
    (tmp_path / "latin.toml").write_bytes(b'a = "\n\xff"')
    (tmp_path / "large.toml").write_bytes(b"#" * 600_000)
    (tmp_path / "file.ini").write_text("")
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    for name, expected in [
        ("missing.toml", "it cannot be read: No such file or directory"),
        ("folder.toml", "it cannot be read: Is a directory"),
        ("long" * 99 + ".toml", "it cannot be read: File name too long"),
        ("no\0name.toml", "it cannot be read: embedded null"),
        ("pipe.toml", "it cannot be read: it is a device or a pipe"),
        ("latin.toml", "latin.toml:2: it is no UTF-8 text: byte 0xff"),
        ("large.toml", "it is 600,000 bytes long"),
        ("file.ini", "its name ends in '.ini'"),
    ]:
        assert expected in problems(tmp_path / name)[0]


# ------------------------------------------------------------------ safety


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that tells when it is imported."""
    (tmp_path / "told.py").write_text("import sys\nsys.told = True\ndef key(call):\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import sys

    monkeypatch.setattr(sys, "told", False, raising=False)
    yield lambda: sys.told
    sys.modules.pop("told", None)


@pytest.mark.parametrize(
    "layer",
    [
        {"use": "told:key"},
        {"use": "bounded", "limit": 3, "by": "told:key"},
        {"use": "bounded", "limit": 3, "queue": {"use": "told:key"}},
        {"use": "retry_jitter", "on": "told:key"},
        {"use": "cached", "types": ["told:key"]},
        {"use": "fallback", "alternatives": [{"function": "told:key"}]},
    ],
)
def test_nothing_in_a_file_imports_a_module_that_is_not_allowed(module, layer):
    """Wherever it is named; the error says how to allow it."""
    (problem,) = problems({"pipelines": {"chat": {"layers": [layer]}}}, registry=Registry(modules=["other"]))
    assert "allow it by load(..., registry=Registry(modules=['told']))" in problem
    assert not module()


def test_a_module_that_is_allowed_is_imported_when_it_is_named(module):
    """And not before."""
    registry = Registry(modules=["told"])
    assert not module()
    layers = load(
        {"pipelines": {"chat": {"layers": [{"use": "bounded", "limit": 3, "by": "told:key"}]}}}, registry=registry
    )
    assert module()
    assert "key" == layers.pipelines["chat"].layers[0].settings()["by"].__name__
    assert "the module told has no nothing" in problems(
        {"pipelines": {"chat": {"layers": [{"use": "bounded", "limit": 3, "by": "told:nothing"}]}}}, registry=registry
    )[0]  # fmt: skip

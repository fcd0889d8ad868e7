"""The dashboard and the alerts: every query asked of a real Prometheus, every rule tested with promtool."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import yaml

from real_prometheus import RECIPES, installed, scraping
from sluiceway.telemetry.instruments import Instruments
from test_recipes import LOOSELY, doctest, printed, promised

DASHBOARD = json.loads((RECIPES / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = yaml.safe_load((RECIPES / "alerts.yml").read_text())["groups"][0]["rules"]
RULE_TESTS = yaml.safe_load((RECIPES / "alerts_test.yml").read_text())["tests"]
NAME = re.compile(r"\bsluiceway_\w+")
PATIENCE = 60.0  # seconds, on a busy machine


def expressions():
    """Every query of the dashboard, by panel, with its variables filled in as Grafana does."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$call", ".*").replace("$__rate_interval", "10s")


@asynccontextmanager
async def demo():
    """Run the recipe as its reader would, and give the address that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(RECIPES / "serve_metrics.py"), "600"),
        env={"METRICS_PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        yield re.match(r"http://(127\.0\.0\.1:\d+)/metrics\n", line.decode()).group(1)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.real
async def test_every_query_of_the_dashboard_finds_something_in_a_real_prometheus(tmp_path):
    """A demo is scraped: all panels draw lines, all rules are healthy, and whatever they name exists."""
    installed("prometheus")
    missing = list(expressions())
    async with demo() as target, scraping(target, tmp_path) as prometheus:
        patience = asyncio.get_running_loop().time() + PATIENCE
        while missing:
            await asyncio.sleep(0.5)  # between two scrapes
            for each in list(missing):
                samples = await prometheus.query(each[1])
                if any(math.isfinite(float(sample["value"][1])) for sample in samples):
                    missing.remove(each)
            assert asyncio.get_running_loop().time() < patience, missing
        series = set(await prometheus.get("/api/v1/label/__name__/values"))
        labels = set(await prometheus.get("/api/v1/labels"))
        groups = (await prometheus.get("/api/v1/rules"))["groups"]
    optional = {"sluiceway_routed_deployment"}  # only where there is a routed()
    for rule in RULES:
        assert set(NAME.findall(rule["expr"])) <= series | labels
        assert set(NAME.findall(str(rule["annotations"]))) <= labels | optional
    assert {rule["alert"]: "ok" for rule in RULES} == {
        rule["name"]: rule["health"] for group in groups for rule in group["rules"]
    }


def promtool(folder):
    """Test the rules in *folder*; return the exit code and what was said."""
    command = [installed("promtool"), "test", "rules", "alerts_test.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.real
def test_the_rules_do_what_their_tests_say():
    """The tests that are committed beside the rules pass."""
    code, said = promtool(RECIPES)
    assert 0 == code, said


@pytest.mark.real
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_that_never_fired_would_fail_its_test(rule, tmp_path):
    """The tests can fail: with a rule switched off promtool complains."""
    off = [{**each, "expr": f"({each['expr']}) and vector(0) > 1"} if each is rule else each for each in RULES]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "sluiceway", "rules": off}]}))
    (tmp_path / "alerts_test.yml").write_text((RECIPES / "alerts_test.yml").read_text())
    code, said = promtool(tmp_path)
    assert 0 != code
    assert rule["alert"] in said


def test_every_rule_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent():
    """Silent: at some time before it fires, or for another call beside the one that it fires for."""
    fires, silent = set(), set()
    for test in RULE_TESTS:
        calls = {re.search(r'call_name="(\w+)"', each["series"]).group(1) for each in test["input_series"]}
        for each in test["alert_rule_test"]:
            fires |= {each["alertname"]} if each["exp_alerts"] else set()
            silent |= {each["alertname"]} if len(each["exp_alerts"]) < len(calls) else set()
    assert {rule["alert"] for rule in RULES} == fires == silent


class Noted:
    """A meter that only notes the names of what is made."""

    def __init__(self):
        self.names = set()

    def __getattr__(self, kind):
        return lambda name, *_, **__: self.names.add(name)


def test_the_dashboard_asks_for_nothing_that_is_not_measured():
    """Each metric in it is one of the instruments, under the name that Prometheus gives it."""
    meter = Noted()
    Instruments(meter)
    made = {name.replace(".", "_") for name in meter.names}
    asked = {name for _, expression in expressions() for name in re.findall(r"(sluiceway_\w+)\{", expression)}
    unit = re.compile(r"(_seconds|_USD)?(_total|_bucket|_count|_sum)?$")
    assert len(asked) > 15
    assert set() == {unit.sub("", name) for name in asked} - made


def test_the_dashboard_can_be_laid_out():
    """Panels have ids of their own, lie inside the 24 columns, and none covers another."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(panel["title"] and panel["description"] and panel["targets"] for panel in PANELS)


@pytest.mark.real
async def test_the_recipe_prints_what_it_says():
    """Without an argument it is over after a few seconds."""
    recipe = RECIPES / "serve_metrics.py"
    code, output = await printed(recipe)
    assert doctest.OutputChecker().check_output(promised(recipe), output, LOOSELY), output
    assert 0 == code

"""Starting points with names: what they are made of, and where their numbers come from."""

from __future__ import annotations

import re
import warnings

import pytest

from sluiceway import ConfigError, rate_limited
from sluiceway.config import anthropic_tier, batch, interactive, load, openai_tier
from sluiceway.config.presets import PRESETS


def all_of_them():
    """Return every preset with every argument that it takes."""
    tiers = [openai_tier(tier, model) for tier in range(1, 6) for model in ("gpt-4o", "gpt-4o-mini")]
    tiers += [anthropic_tier(tier, model) for tier in range(1, 5) for model in ("sonnet-4", "haiku-4.5")]
    return [*tiers, interactive(), batch()]


@pytest.mark.parametrize("preset", all_of_them(), ids=lambda preset: preset.name)
def test_a_preset_loads_without_a_warning_and_says_where_it_is_from(preset):
    """With a source and the month in which it was read."""
    use = f"presets.{preset.name}"
    single = len(preset.layers) == 1
    table = {"layers": [{"use": use}]} if single else {"extends": use}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load({"pipelines": {"chat": table}})
    assert [layer["use"] for layer in preset.layers] == [layer.name for layer in config.pipelines["chat"].layers]
    assert re.fullmatch(r"20\d\d-\d\d", preset.date)
    assert preset.source
    assert {str(preset)} == {str(item.preset) for item in config.items["chat"]}


@pytest.mark.parametrize("make", [openai_tier, anthropic_tier])
def test_a_higher_tier_never_allows_less(make):
    """Row by row, so that a slip of the pen shows."""
    tiers = range(1, 6) if make is openai_tier else range(1, 5)
    for model in ("gpt-4o", "gpt-4o-mini") if make is openai_tier else ("sonnet-4", "haiku-4.5"):
        rows = [make(tier, model).settings for tier in tiers]
        for name in rows[0].keys() - {"policy"}:
            assert sorted(row[name] for row in rows) == [row[name] for row in rows]


def test_a_preset_is_a_start_and_what_is_written_beside_it_wins():
    """In files and in code; a limit can be shared."""
    chat = {"extends": "presets.interactive", "replace": {"bounded": {"limit": 5}}}
    file = {
        "limits": {"openai": {"use": "presets.openai_tier(3, gpt-4o)", "burst": "1s"}},
        "pipelines": {"chat": chat, "other": {"layers": [{"ref": "limits.openai"}]}},
    }
    config = load(file)
    settings = config.limits["openai"].settings()
    assert (5_000, 800_000, "1s") == (settings["rpm"], settings["tpm"], settings["burst"])
    assert 5 == next(layer for layer in config.pipelines["chat"].layers if layer.name == "bounded").limit
    assert 5_000 == rate_limited(**openai_tier(3, "gpt-4o").settings).settings()["rpm"]


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("presets.openai_tier(6)", "tier=6 must be a whole number from 1 to 5"),
        ("presets.openai_tier(0)", "tier=0 must be"),
        ("presets.openai_tier(x)", "tier='x' must be"),
        ("presets.openai_tier(1, gpt-9)", "model='gpt-9': limits are known of gpt-4o"),
        ("presets.openai_tier", "must be written as presets.openai_tier("),
        ("presets.openai_tier(1, 2, 3)", "must be written as"),
        ("presets.openai_teir(1)", "must be one of presets.anthropic_tier"),
        ("presets.", "must be one of"),
    ],
)
def test_what_is_no_preset_is_told(use, expected):
    """With what there is."""
    with pytest.raises(ConfigError) as raised:
        load({"limits": {"l": {"use": use}}})
    assert expected in str(raised.value)


def test_several_layers_are_no_settings_of_one():
    """They are for `extends`."""
    with pytest.raises(TypeError, match=r"presets\.batch has 5 layers"):
        _ = batch().settings
    assert {"anthropic_tier", "batch", "interactive", "openai_tier"} == set(PRESETS)

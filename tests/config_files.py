"""A file with everything in it, in each format, for the tests of `sluiceway.config`."""

import json
import tomllib

import yaml

TOML = """\
version = 1

[limits.openai]
use = "rate_limited"
rpm = 500
tpm = 200_000
queue = { use = "priority", aging = "10s", within = { use = "fair", key = "tenant", weights = { acme = 3 } } }

[limits.places]
use = "bounded"
limit = 40
by = "model"

[pipelines.chat]
layers = [
  { use = "observed", detail = "compact" },
  { use = "cached", store = "answers.db", ttl = "7d" },
  { use = "fallback", alternatives = ["gpt-4o-mini", "gpt-4o"] },
  { use = "timed", limit = "60s" },
  { use = "budgeted", usd = 5, per = ["tenant", "day"], unknown = "ignore" },
  { use = "retry_jitter", attempts = 5, cap = "30s", on = ["TimeoutError", "ConnectionError"] },
  { use = "hedged", after = "p95", budget = { minimum = 3, ratio = 0.2 } },
  { use = "shed", max_wait = "20s" },
  { ref = "limits.places" },
  { use = "bounded", id = "mine", limit = 30 },
  { ref = "limits.openai" },
  { use = "circuit_breaker", failure_ratio = 0.5, window = "2m" },
  { use = "timed", id = "attempt", first_item = "30s", idle = 30 },
  { use = "chaos", errors = { 429 = 0.1 }, slow = 0.1, slow_by = [1, 2], cut_after = [1, 3] },
]

[pipelines.nightly]
extends = "chat"
replace = { mine = { limit = 100 }, hedged = false, chaos = false }

[pipelines.spread]
layers = [
  { use = "coalesced", streams = true },
  { use = "routed", strategy = "weight", deployments = [
    { name = "eu", kwargs = { model = "gpt-4o" }, layers = [{ use = "rate_limited", rpm = 60 }] },
    { name = "us", weight = 2, layers = [{ use = "adaptive_bound", initial = 4, max = 9 }] },
  ] },
  { use = "adaptive_rate", initial = 5, law = "aimd" },
]

[session]
name = "nightly"
pipeline = "nightly"
error_rate_alert = 0.1
"""

DATA = tomllib.loads(TOML)
TEXTS = {"toml": TOML, "json": json.dumps(DATA, indent=2), "yaml": yaml.safe_dump(DATA, sort_keys=False)}
SMALL = """\
[limits.openai]
use = "rate_limited"
rpm = 600

[pipelines.chat]
layers = [
  { use = "timed", limit = "60s" },
  { use = "bounded", limit = 30 },
  { ref = "limits.openai" },
]
"""

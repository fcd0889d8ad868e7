"""Know what a batch takes before you pay: tokens, time, the limit that binds, and money.

A file of prompts is quickly sent and slowly regretted: it costs ten times what was thought, or takes until Thursday. A
plan counts the tokens, says which limit makes it last and what it costs with its range, also by another model and by
the Batch API. With `simulate` the batch itself runs through its very pipeline on virtual time, against a provider with
these limits: the quarter of an hour below takes a second or two. On the command line it is `sluiceway plan`.

Prints::

    rows              2,000 to ask
    input tokens      ... (by the models' vocabulary: within 1 %)
    output tokens     300,000 (as told; from 200,000 to 400,000)
    time              about 17 min ... s at the shortest, by tpm
                      tpm           20,000 tokens a minute            17 min ... s
                      rpm           500 requests a minute             3 min ... s
                      concurrency   20 at a time                      2 min ... s
    cost              gpt-4o-mini             $0.19 (from $0.13 to $0.25)
                      gpt-4o                  $3... (from $2... to $4...)  (to compare)
    Batch API         $0.09..., half the price; 1 batch, each within 24 h
    <BLANKLINE>
    simulated         17 min ... s (in ... s)
    answered          2,000
    refused           0 of 2,000 requests (0.00%)
    used              ...% of the requests, ...% of the tokens
    in flight         ... at most
    waits             rate_limited: ... calls, ... on average, ... at most, ... in the queue at most
"""

from __future__ import annotations

from sluiceway.batch import usual_pipeline
from sluiceway.batch.plan import plan


def main() -> None:
    prompts = [f"Describe river number {number} to a child, in a short paragraph." for number in range(2000)]
    told = plan(
        "gpt-4o-mini",
        prompts,  # or "prompts.jsonl"
        pipeline=usual_pipeline(concurrency=20, rpm=500, tpm=20_000),
        parameters={"max_tokens": 200},
        output_tokens="100..200",  # or like="trial.jsonl", the results of the first hundred rows
        latency="500ms..2s",
        compare=["gpt-4o"],
        simulate=True,
    )
    print(told)


if __name__ == "__main__":
    main()

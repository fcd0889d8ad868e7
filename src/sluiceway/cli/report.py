"""`sluiceway report`: a page about a batch."""

from __future__ import annotations

from pathlib import Path

import click

from sluiceway.batch.report import write_report
from sluiceway.cli.streams import end
from sluiceway.errors import SluicewayError


@click.command("report")
@click.argument("results", type=click.Path())
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Of the page [RESULTS.report.html].")
def report_command(results: str, output: Path | None) -> None:
    """Write one HTML page about the batch whose answers are in RESULTS, a file or a folder with results.jsonl.

    It shows rates against limits over time, latencies, tokens, waits, errors, costs, and the slowest and dearest rows
    by their ids; no prompt and no answer is in it. It needs no network, neither now nor when it is read.
    """
    try:
        click.echo(str(write_report(results, output)))
    except FileNotFoundError as error:
        raise click.ClickException(f"there is no {error.filename}: give the results of a batch") from None
    except (SluicewayError, ValueError, OSError) as error:
        end(error)

"""`assetd fetch`. Options in, one line out: what a fetch is, only the client knows."""

import math
from typing import Any

import click

from assetd.asset import Freshness, Resolution
from assetd.cli.output import Session, json_option, print_message, warn_of_fallback
from assetd.cli.progress import FetchReport, display_for, progress_options


class Seconds(click.FloatRange):
    """How long something may take, `inf` included."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number. NaN is none, though click finds it in every range."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return number


SECONDS = Seconds(min=0, min_open=True)

FETCH_EXAMPLES = """\b
Examples:
  assetd fetch nlp/ranker
  MODEL=$(assetd fetch nlp/ranker:1 --freshness store_or_cache)
  cat "$(assetd fetch 'nlp/tokens:0.1[vocab/en.txt]')"
  assetd fetch nlp/ranker:1.2 --include '*.json' --include 'vocab/**'
  assetd fetch nlp/ranker:1.2 --json | jq -r 'select(.completed) | .completed.path'
"""


@click.command(epilog=FETCH_EXAMPLES)
@click.argument("spec")
@click.option(
    "--freshness",
    type=click.Choice([freshness.value for freshness in Freshness], case_sensitive=False),
    help="Who decides what an unpinned SPEC stands for: the store; the store or, when it does not "
    "answer, the cache; the cache alone. By default what the daemon's operator chose.",
)
@click.option(
    "--store-timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="How long the store may take to say what SPEC stands for.",
)
@click.option(
    "--expected-digest",
    metavar="sha256:HEX",
    help="Fail unless the whole version has this digest.",
)
@click.option(
    "--include",
    metavar="GLOB",
    multiple=True,
    help="Fetch only files whose paths match: * stops at /, ** does not. May be repeated. The "
    "path is then that of a partial version.",
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Do not fetch files whose paths match; wins over --include.",
)
@click.option("--part-only", is_flag=True, help="Fetch nothing but the part that SPEC names.")
@click.option("--verify", is_flag=True, help="Hash every file, also of what is present already.")
@click.option("--force-download", is_flag=True, help="Download it even if it is present.")
@click.option("--timeout", type=SECONDS, metavar="SECONDS", help="Give up after that long.")
@progress_options
@json_option
@click.pass_obj
def fetch(
    session: Session,
    spec: str,
    freshness: str | None,
    store_timeout: float | None,
    expected_digest: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    part_only: bool,
    verify: bool,
    force_download: bool,
    timeout: float | None,
    progress: str,
    quiet: bool,
) -> None:
    """Make a version present and print its path.

    Waits until it is whole, verified and durable. Everybody who fetches the same version shares
    one download, and what is present is not downloaded again.

    Without a terminal there is no progress, unless by --progress lines.
    """
    display = display_for(progress, quiet=quiet or session.as_json)
    with session.client() as client, FetchReport(display) as report:
        asset = client.fetch(
            spec,
            freshness=freshness,
            store_timeout=store_timeout,
            expected_digest=expected_digest,
            include=include,
            exclude=exclude,
            part_only=part_only,
            verify=verify,
            force_download=force_download,
            progress_interval=report.interval_seconds,
            on_progress=report.updates(spec),
            on_event=print_message if session.as_json else None,
            timeout=timeout,
        )
    if not session.as_json:
        warn_of_fallback(asset.resolution is Resolution.FALLBACK)
        click.echo(asset.path)

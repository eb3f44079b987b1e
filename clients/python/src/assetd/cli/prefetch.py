"""The command `assetd prefetch`: many versions at once, as a node or an image is prepared."""

import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, TextIO

import click

from assetd.asset import Asset
from assetd.cli.output import Session, for_each, json_option, one_line, print_message
from assetd.cli.progress import FetchReport, display_for, progress_options
from assetd.client import Client
from assetd.errors import InvalidFieldError

if TYPE_CHECKING:
    from assetd.v1.asset_service_pb2 import FetchResponse

PREFETCH_EXAMPLES = """\b
Examples:
  assetd prefetch assets.txt
  assetd prefetch assets.txt --pin --parallel 8
  assetd list nlp/ --scope store --latest | awk 'NR>1 {print $1":"$2}' | assetd prefetch -

\b
A file may say:
  # what the ranking servers load
  nlp/ranker:1        the newest 1.x
  nlp/tokens:0.1
"""


class Listing(click.File):
    """A file of specs, or standard input."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the open file."""
        if value == "-" and sys.stdin is None:
            self.fail("standard input is closed", param, ctx)
        return super().convert(value, param, ctx)


@click.command(epilog=PREFETCH_EXAMPLES)
# -sig: some editors begin a file with a mark that is no part of the first spec.
@click.argument("file", type=Listing(encoding="utf-8-sig"))
@click.option("--pin", is_flag=True, help="Pin every version that was fetched.")
@click.option(
    "--parallel",
    type=click.IntRange(min=1, max=64),
    default=4,
    show_default=True,
    help="How many fetches may be under way at once.",
)
@progress_options
@json_option
@click.pass_obj
def prefetch(
    session: Session, file: TextIO, pin: bool, parallel: int, progress: str, quiet: bool
) -> int:
    """Make all versions present that FILE names, a SPEC a line.

    Prints SPEC, a tab and the path for each, as soon as it is there. What follows a SPEC on its
    line, and lines that begin with #, are notes; - reads standard input. Goes on after a failure;
    the exit code is the highest. With --json the event `completed` of each fetch is printed.
    """
    try:
        specs = read_specs(file)
    except UnicodeDecodeError:
        raise click.BadParameter("it is not UTF-8", param_hint="FILE") from None
    display = display_for(progress, quiet=quiet or session.as_json)
    with session.client() as client, FetchReport(display) as report:
        fetching = Prefetch(session, client, report, pins=pin)
        return fetching.run(specs, parallel)


def read_specs(lines: Iterable[str]) -> list[str]:
    """Return the specs of a file, each once and in their order."""
    words = [line.split(maxsplit=1) for line in lines]
    return list(dict.fromkeys(w[0] for w in words if w and not w[0].startswith("#")))


class Prefetch:
    """Fetches many specs, some at a time."""

    def __init__(
        self, session: Session, client: Client, report: FetchReport, *, pins: bool
    ) -> None:
        self._session = session
        self._client = client
        self._report = report
        self._pins = pins
        self._printing = threading.Lock()

    def run(self, specs: list[str], parallel: int) -> int:
        """Fetch all, print as they come, and return the highest exit code."""
        pool = ThreadPoolExecutor(parallel, "assetd-prefetch")
        try:
            fetches = {pool.submit(self._fetch, spec): spec for spec in specs}
            return max(
                (self._answer(done, fetches[done]) for done in as_completed(fetches)), default=0
            )
        except BaseException:
            # Ends the calls that the threads wait for.
            self._client.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch(self, spec: str) -> Asset:
        # Held while it is pinned: it might be evicted between the two.
        with self._client.fetch(
            spec,
            hold=self._pins,
            progress_interval=self._report.interval_seconds,
            on_progress=self._report.updates(spec),
            on_event=self._print if self._session.as_json else None,
        ) as asset:
            if self._pins:
                self._pin(asset)
            return asset

    def _pin(self, asset: Asset) -> None:
        if not asset.version:
            # As one may stand that no daemon brought, where there is no store.
            raise InvalidFieldError(
                f"{asset.name} is present, and cannot be pinned: it has no version",
                metadata={"field": "spec", "spec": asset.name},
            )
        self._client.pin(f"{asset.name}:{asset.version}")

    def _print(self, response: "FetchResponse") -> None:
        if response.HasField("completed"):
            with self._printing:
                print_message(response)

    def _answer(self, done: "Future[Asset]", spec: str) -> int:
        def show(spec: str) -> None:
            asset = done.result()
            if not self._session.as_json:
                self._report.answer(f"{one_line(spec)}\t{asset.path}")

        code = for_each([spec], show, as_json=self._session.as_json)
        self._report.has_failed = self._report.has_failed or code != 0
        return code

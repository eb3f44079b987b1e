"""The command `assetd doctor`: what is well, what is not, and what to do about it.

Looks from here, as the user who asks: half of what goes wrong is that a program sees another
directory, socket or user than the daemon does. Changes nothing unless it is told to, but for the
keys of the probe.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from assetd.cli.findings import Finding, fail, ok, warn
from assetd.cli.output import EXIT_TO_MEND, Session, count_text, json_option, one_line, size_text
from assetd.cli.seen import directory_findings, version_findings
from assetd.cli.show import time_text
from assetd.cli.stored import StoreOrder, require_valid, store_findings
from assetd.client import Client
from assetd.errors import AssetdError

if TYPE_CHECKING:
    from assetd.v1.cache_service_pb2 import GetCacheStatusResponse

# A store that does not answer a short question in that time is as good as down.
STORE_SECONDS = 15.0

DOCTOR_EXAMPLES = """\b
Examples:
  assetd doctor
  assetd doctor --json | jq -r 'select(.state == "fail") | .text'
  ASSETD_STORE=s3://bucket/prefix assetd doctor --no-probe --prefix nlp/
  ASSETD_STORE=s3://bucket/prefix assetd doctor --repair --release-older-than 24h
"""


@click.command(epilog=DOCTOR_EXAMPLES)
@click.option(
    "--store",
    metavar="URL",
    help="The store to look at, as for `assetd serve`. Overrides ASSETD_STORE.",
)
@click.option(
    "--no-probe",
    is_flag=True,
    help="Do not try whether the store is atomic: write nothing at all.",
)
@click.option("--prefix", metavar="NAME", default="", help="Look at the assets that begin so.")
@click.option(
    "--repair",
    is_flag=True,
    help="Write indexes that cannot be believed anew, from the manifests that are there; list what"
    " exists in the store and is not listed; and remove claims that are left beside what is.",
)
@click.option(
    "--release-older-than",
    metavar="DURATION",
    help="End the pushes that began longer ago, 24h for one: their claims are released, or finished"
    " where they were committing, and their uploads aborted. Parts are never deleted. A pusher that"
    " is alive after all begins again.",
)
@json_option
@click.pass_obj
def doctor(
    session: Session,
    store: str | None,
    no_probe: bool,
    prefix: str,
    repair: bool,
    release_older_than: str | None,
) -> int:
    """Check the daemon, its store, and what this user can see of the cache.

    A line a check: ok, warn or fail, and what to do. Exit code 8 if one fails, else 0. With --json
    one object a line, with check, state and text.

    Where assetd[server] is installed, and a store is configured as for `assetd serve`, the store
    itself is looked through: is it atomic, which pushes hold claims, which uploads are unfinished,
    what does not fit together. All keys are listed and the .meta of every version is read, one
    request each: the more there are, the longer it takes, and --prefix names fewer. Of what the
    versions consist of, names and sizes are compared, and no byte is read. That changes nothing but
    keys below .assetd/probe/, which are removed again.
    """
    order = StoreOrder(store, prefix, not no_probe, repair, release_older_than)
    require_valid(order)
    failures = 0
    with session.client() as client:
        for finding in findings(client, order):
            failures += finding.state == "fail"
            click.echo(json.dumps(finding.as_object()) if session.as_json else line(finding))
    return EXIT_TO_MEND if failures else 0


def line(finding: Finding) -> str:
    """Return a finding for people."""
    return f"{finding.state:<4}  {finding.check:<10}  {one_line(finding.text)}"


def findings(client: Client, order: StoreOrder) -> Iterator[Finding]:
    """Look at one thing after the other; without a daemon only at what needs none."""
    try:
        status = client.status()
    except AssetdError as failure:
        yield fail("daemon", failure.message)
        yield from directory_findings(client, None)
        yield from store_findings(order, None)
        return
    yield from daemon_findings(client, status)
    yield from store_findings(order, status.store)


def daemon_findings(client: Client, status: "GetCacheStatusResponse") -> Iterator[Finding]:
    """Tell what the daemon knows, and what of it can be seen here."""
    yield daemon_finding(status, client.address)
    yield from (warn("daemon", warning) for warning in status.warnings)
    yield store_finding(client, status)
    yield from directory_findings(client, status.assets_dir)
    yield from version_findings(client)
    yield room_finding(status)
    yield use_finding(status)


def daemon_finding(status: "GetCacheStatusResponse", address: str) -> Finding:
    """Tell which daemon answers."""
    ours, theirs = version("assetd"), status.server_version
    text = f"assetd {theirs} at {address}, up since {time_text(status.start_time)}"
    if theirs != ours:
        return warn("daemon", f"{text}; this command is {ours}: some answers may not be understood")
    return ok("daemon", text)


def store_finding(client: Client, status: "GetCacheStatusResponse") -> Finding:
    """Ask the store a short question."""
    if not status.store:
        return warn("store", "none is configured: only what is in ASSETS_DIR can be served")
    try:
        next(client.list(scope="store", page_size=1, timeout=STORE_SECONDS), None)
    except AssetdError as failure:
        last = "never since the daemon started"
        if status.HasField("store_last_ok_time"):
            last = time_text(status.store_last_ok_time)
        reason = failure.reason or failure.code
        return fail("store", f"{status.store}: {failure.message} ({reason}); last well: {last}")
    return ok("store", f"{status.store} answers")


def room_finding(status: "GetCacheStatusResponse") -> Finding:
    """Compare what the cache may take with what the disk has left."""
    free, used = status.disk_free_bytes, status.used_bytes
    text = f"{size_text(used)} used, {size_text(free)} free on the disk"
    if not status.HasField("limit_bytes"):
        return ok("room", f"{text}; no limit, so that nothing is evicted by itself")
    text = f"{text}, limit {size_text(status.limit_bytes)}"
    if status.limit_bytes - used > free:
        return warn("room", f"{text}: the disk is full before the limit is reached; lower it")
    if used >= status.limit_bytes and not status.evictable_bytes:
        return warn("room", f"{text}: full, and all of it is pinned, in use or too young to evict")
    return ok("room", f"{text}, {size_text(status.evictable_bytes)} could be evicted")


def use_finding(status: "GetCacheStatusResponse") -> Finding:
    """Tell how much is in use."""
    counts = [
        count_text(status.version_count, "version"),
        f"{status.pinned_count} pinned",
        f"{status.leased_count} leased",
        count_text(len(status.holds), "hold"),
        count_text(len(status.flights), "download"),
    ]
    return ok("use", ", ".join(counts))

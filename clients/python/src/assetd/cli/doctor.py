"""The command `assetd doctor`: what is well, what is not, and what to do about it.

Looks from here, as the user who asks: half of what goes wrong is that a program sees another
directory, socket or user than the daemon does. Changes nothing.
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
"""


@click.command(epilog=DOCTOR_EXAMPLES)
@json_option
@click.pass_obj
def doctor(session: Session) -> int:
    """Check the daemon, its store, and what this user can see of the cache.

    A line a check: ok, warn or fail, and what to do. Exit code 8 if one fails, else 0. With --json
    one object a line, with check, state and text.
    """
    failures = 0
    with session.client() as client:
        for finding in findings(client):
            failures += finding.state == "fail"
            click.echo(json.dumps(finding._asdict()) if session.as_json else line(finding))
    return EXIT_TO_MEND if failures else 0


def line(finding: Finding) -> str:
    """Return a finding for people."""
    return f"{finding.state:<4}  {finding.check:<10}  {one_line(finding.text)}"


def findings(client: Client) -> Iterator[Finding]:
    """Look at one thing after the other; without a daemon only at what needs none."""
    try:
        status = client.status()
    except AssetdError as failure:
        yield fail("daemon", failure.message)
        yield from directory_findings(client, None)
        return
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

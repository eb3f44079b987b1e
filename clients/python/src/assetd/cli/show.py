"""The commands that only look: `assetd resolve`, `assetd list`, `assetd status`.

Turn the client's answers into text, and change nothing anywhere.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from assetd.asset import Freshness, Scope
from assetd.cli.output import (
    Session,
    json_option,
    print_error,
    print_message,
    size_text,
    warn_of_fallback,
)
from assetd.cli.table import print_table

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from assetd.v1.asset_pb2 import AssetVersion, CacheState
    from assetd.v1.asset_service_pb2 import ListResponse
    from assetd.v1.cache_service_pb2 import GetCacheStatusResponse

RESOLVE_EXAMPLES = """\b
Examples:
  assetd resolve nlp/ranker
  assetd resolve nlp/ranker:1 --freshness cache
  assetd resolve nlp/ranker:1.2 --long
"""

LIST_EXAMPLES = """\b
Examples:
  assetd list
  assetd list nlp/ --latest
  assetd list nlp/ranker --scope cache --long
"""


@click.command(epilog=RESOLVE_EXAMPLES)
@click.argument("spec")
@click.option(
    "--freshness",
    type=click.Choice([freshness.value for freshness in Freshness], case_sensitive=False),
    help="Who decides, as for `assetd fetch`.",
)
@click.option(
    "-l",
    "--long",
    "full",
    is_flag=True,
    help="What else is known of the version too: its size, who pushed it, its labels.",
)
@json_option
@click.pass_obj
def resolve(session: Session, spec: str, freshness: str | None, full: bool) -> None:
    """Print the name:version that SPEC stands for.

    Downloads nothing.
    """
    from assetd.v1 import asset_pb2

    with session.client() as client:
        response = client.resolve(spec, freshness=freshness)
    if session.as_json:
        print_message(response)
        return
    warn_of_fallback(response.resolution == asset_pb2.RESOLUTION_FALLBACK)
    if full:
        cached = ("cached", presence_text(response.cache_state))
        print_table([], [list(line) for line in (*known_lines(response.asset_version), cached)])
    else:
        click.echo(name_and_version(response.asset_version))


def known_lines(version: "AssetVersion") -> Iterator[tuple[str, str]]:
    """Give the lines about a version, each a title and what stands beside it."""
    from assetd.v1.asset_pb2 import AssetKind

    yield "version", name_and_version(version)
    if version.kind:
        yield "kind", AssetKind.Name(version.kind).removeprefix("ASSET_KIND_").lower()
    if version.HasField("file_count"):
        yield "files", str(version.file_count)
    if version.HasField("size_bytes"):
        yield "size", size_text(version.size_bytes)
    if version.digest:
        yield "digest", version.digest
    if version.HasField("push_time"):
        yield "pushed", time_text(version.push_time)
    if version.pushed_by:
        yield "by", version.pushed_by
    for position, text in enumerate(label_texts(version)):
        yield "" if position else "labels", text


@click.command("list", epilog=LIST_EXAMPLES)
@click.argument("prefix", default="")
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope], case_sensitive=False),
    default=Scope.ALL.value,
    show_default=True,
    help="Look in the store and the cache, or in one of them.",
)
@click.option("--latest", is_flag=True, help="Only the newest version of each asset.")
@click.option(
    "-l",
    "--long",
    "full",
    is_flag=True,
    help="All that is known of them, labels too; reads one manifest a version, which is slower.",
)
@json_option
@click.pass_obj
def list_versions(session: Session, prefix: str, scope: str, latest: bool, full: bool) -> None:
    """List versions, by name and newest first.

    Of all assets whose names begin with PREFIX: nlp/ is a folder, nlp/ra also means nlp/ranker.
    """
    with session.client() as client:
        pages = client.list(prefix, scope=scope, latest_only=latest, full=full)
        if session.as_json:
            for page in pages:
                print_message(page)
            return
        taken = list(pages)
    columns = ["ASSET", "VERSION", "CACHED", "STORE"]
    columns += ["SIZE", "FILES", "PUSHED", "BY", "DIGEST", "LABELS"] if full else []
    print_table(columns, [row for page in taken for row in rows(page, full=full)])
    warn_of_unreachable(taken)


def rows(page: "ListResponse", *, full: bool) -> Iterator[list[str]]:
    """Give a page's versions as cells of text. `?` stands for what is not known."""
    for entry in page.entries:
        version = entry.asset_version
        in_store = ("yes" if entry.in_store else "no") if entry.HasField("in_store") else "?"
        presence = presence_text(entry.cache_state)
        row = [version.name, version.version, presence, in_store]
        yield row + (details(version) if full else [])


def presence_text(state: "CacheState") -> str:
    """Return whether the cache holds a version, in a word."""
    words = {
        state.PRESENCE_PRESENT: "yes",
        state.PRESENCE_PARTIAL: "partial",
        state.PRESENCE_ABSENT: "no",
    }
    return words.get(state.presence, "?")


def details(version: "AssetVersion") -> list[str]:
    """Return the cells that only a manifest knows."""
    return [
        size_text(version.size_bytes) if version.HasField("size_bytes") else "?",
        str(version.file_count) if version.HasField("file_count") else "?",
        time_text(version.push_time) if version.HasField("push_time") else "?",
        version.pushed_by or "?",
        version.digest or "?",
        " ".join(label_texts(version)),
    ]


def label_texts(version: "AssetVersion") -> list[str]:
    """Return each label as it is written for `assetd push`, by their keys."""
    return [f"{key}={value}" for key, value in sorted(version.labels.items())]


def warn_of_unreachable(pages: "Iterable[ListResponse]") -> None:
    """Say which places could not be asked, so that nobody takes the list for whole."""
    from assetd.v1.asset_pb2 import Source

    places = {place for page in pages for place in page.unreachable}
    for name in sorted(Source.Name(place).removeprefix("SOURCE_").lower() for place in places):
        print_error(f"the {name} could not be asked: versions may be missing here")


@click.command()
@json_option
@click.pass_obj
def status(session: Session) -> None:
    """Show how this node's cache is.

    What it holds, what it is doing, and what an operator should look at.
    """
    with session.client() as client:
        response = client.status()
        address = client.address
    if session.as_json:
        print_message(response)
        return
    print_table([], [list(line) for line in summary(response, address)])


def summary(status: "GetCacheStatusResponse", address: str) -> Iterator[tuple[str, str]]:
    """Give the lines of the summary, each a title and what stands beside it."""
    limit = f"limit {size_text(status.limit_bytes)}"
    yield "daemon", f"assetd {status.server_version} at {address}"
    yield "", f"up since {time_text(status.start_time)}"
    yield "assets dir", status.assets_dir
    used = size_text(status.used_bytes)
    yield "", f"{used} used, {limit if status.HasField('limit_bytes') else 'no limit'}"
    yield "", f"{size_text(status.evictable_bytes)} could be evicted"
    yield "", f"{size_text(status.reserved_bytes)} reserved for downloads"
    yield "", f"{size_text(status.disk_free_bytes)} free on the disk"
    yield "versions", f"{status.version_count}"
    yield "", f"{status.pinned_count} pinned, {status.leased_count} leased"
    yield from store_lines(status)
    yield from activity_lines(status)
    for warning in status.warnings:
        yield "warning", warning


def store_lines(status: "GetCacheStatusResponse") -> Iterator[tuple[str, str]]:
    """Give the lines about the store."""
    yield "store", status.store or "none"
    if status.HasField("store_last_ok_time"):
        yield "", f"last answered {time_text(status.store_last_ok_time)}"
    elif status.store:
        yield "", "has not answered since the daemon started"


def activity_lines(status: "GetCacheStatusResponse") -> Iterator[tuple[str, str]]:
    """Give a line for each download and each hold."""
    for flight in status.flights:
        done = size_text(flight.progress.present_bytes)
        total = size_text(flight.progress.total_bytes)
        asset = name_and_version(flight.asset_version)
        yield "download", f"{asset} {done} of {total}, {flight.waiter_count} waiting"
    for hold in status.holds:
        asset, caller = name_and_version(hold.asset_version), hold.caller or "unknown"
        yield "hold", f"{asset} by {caller} since {time_text(hold.start_time)}"


def name_and_version(version: "AssetVersion") -> str:
    """Return what a pinned spec says; without a store, an asset may have no version."""
    return f"{version.name}:{version.version}" if version.version else version.name


def time_text(time: "Timestamp") -> str:
    """Return a moment to the second, in UTC."""
    return time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")

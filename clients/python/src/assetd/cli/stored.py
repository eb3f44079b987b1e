"""The store as `assetd doctor` sees it past the daemon: probe, claims, uploads, what does not fit.

Runs in process, with what `assetd[server]` brings, on the store that the environment names as it
does for `assetd serve`. Decides nothing: what is found, and what is done about it, is the server's.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from assetd.cli.findings import Finding, fail, ok, warn
from assetd.cli.interrupts import left_to_asyncio
from assetd.cli.output import count_text, size_text
from assetd.cli.serve import MISSING_SERVER

if TYPE_CHECKING:
    from assetd_server.assets.inspection import (
        FoundClaim,
        FoundUpload,
        Inspection,
        OddVersion,
        Unreadable,
    )
    from assetd_server.assets.mending import Mended
    from assetd_server.assets.upkeep import Upkeep
    from assetd_server.model import NamePrefix
    from assetd_server.store.index_repair import DamagedIndex
    from assetd_server.store.probe import ProbeReport

# A push that began so long ago is hardly under way any more.
OLD_SECONDS = 24 * 3600
NO_STORE = (
    "no store is configured here: set ASSETD_STORE and the credentials as for `assetd serve`, or"
    " name it by --store"
)


@dataclass(frozen=True)
class StoreOrder:
    """What to look at, and what to do about it; texts as they were written."""

    store: str | None = None
    prefix: str = ""
    probes: bool = True
    repairs: bool = False
    release_older_than: str | None = None

    @property
    def is_explicit(self) -> bool:
        """Whether whoever asks will miss it if nothing is looked at."""
        return bool(self.store or self.prefix or self.repairs or self.release_older_than)


def require_valid(order: StoreOrder) -> None:
    """Check what was written, before anything is looked at.

    Raises:
        click.UsageError: it is no order, or nobody is here to follow it.
    """
    if not order.is_explicit:
        return
    try:
        _parsed(order)
    except ModuleNotFoundError as missing:
        _require_server_missing(missing)
        raise click.UsageError(MISSING_SERVER) from None


def _require_server_missing(missing: ModuleNotFoundError) -> None:
    # Anything else that is missing is a broken installation, which a hint would hide.
    if (missing.name or "").partition(".")[0] != "assetd_server":
        raise missing


def store_findings(order: StoreOrder, daemons_store: str | None) -> Iterator[Finding]:
    """Look through the store, and mend what was asked for; nothing where none is configured."""
    try:
        from assetd_server.app import ConfigError, configured_upkeep
        from assetd_server.errors import AssetError
    except ModuleNotFoundError as missing:
        _require_server_missing(missing)
        return
    try:
        upkeep = configured_upkeep({"ASSETD_STORE": order.store} if order.store else {})
        if upkeep is not None:
            yield from _looked_at(order, upkeep, daemons_store)
        elif order.is_explicit:
            yield fail("store", NO_STORE)
    except ConfigError as error:
        yield from (fail("store", fault) for fault in error.faults)
    except AssetError as failure:
        yield fail("store", f"{failure} ({failure.reason})")


def _looked_at(order: StoreOrder, upkeep: "Upkeep", daemons_store: str | None) -> Iterator[Finding]:
    prefix, older_than_seconds = _parsed(order)
    with left_to_asyncio(), asyncio.Runner() as runner:
        try:
            if daemons_store is not None and daemons_store.rstrip("/") != upkeep.url.rstrip("/"):
                yield warn("store", f"{daemons_store} for the daemon, and {upkeep.url} here")
            if order.probes:
                yield from probe_findings(runner.run(upkeep.probe()))
            found = runner.run(upkeep.inspect(prefix))
            yield from inspection_findings(found, upkeep.url)
            if order.repairs:
                yield from _mended(runner, upkeep.repair(found))
            if older_than_seconds is not None:
                yield from _mended(runner, upkeep.release(found, older_than_seconds))
        finally:
            runner.run(upkeep.close())


def _parsed(order: StoreOrder) -> tuple["NamePrefix", float | None]:
    from assetd_server.errors import InvalidFieldError
    from assetd_server.model import NamePrefix
    from assetd_server.parsing import parse_duration_seconds

    text = order.release_older_than
    try:
        return NamePrefix(order.prefix), parse_duration_seconds(text) if text else None
    except InvalidFieldError as mistake:
        raise click.BadParameter(str(mistake), param_hint="--prefix") from None
    except ValueError as mistake:
        raise click.BadParameter(f"{text!r} {mistake}", param_hint="--release-older-than") from None


def probe_findings(report: "ProbeReport") -> Iterator[Finding]:
    """Tell each check of the probe, in columns."""
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        tell = ok if check.ok else fail
        yield tell("probe", f"{check.name:<{width}}  {check.detail}", name=check.name)
    if report.failed:
        yield fail(
            "probe",
            "pushes to this store are refused, as they could be lost: use one whose conditional"
            " writes are atomic, or let one daemon alone push: ASSETD_PUSH_SINGLE_PUSHER=true",
        )


def inspection_findings(found: "Inspection", url: str) -> Iterator[Finding]:
    """Tell all that was found, what has to be looked at last."""
    counts = [
        count_text(found.asset_count, "asset"),
        count_text(found.version_count, "version"),
        count_text(len(found.claims), "claim"),
        count_text(len(found.uploads), "unfinished upload"),
    ]
    yield ok("bucket", f"{url}: {', '.join(counts)}")
    yield from map(claim_finding, found.claims)
    yield from map(upload_finding, found.uploads)
    yield from map(index_finding, found.damaged)
    yield from map(odd_finding, found.odd)
    if found.probe_keys:
        yield warn(
            "litter",
            f"{count_text(len(found.probe_keys), 'key')} like {found.probe_keys[0]}, of probes that"
            " were killed: delete them while nobody probes",
        )
    yield from map(unreadable_finding, found.unreadable)


def claim_finding(found: "FoundClaim") -> Finding:
    """Tell who pushes a version, or did."""
    claim, state = found.claim, found.claim.state.value
    text = (
        f"{found.name}:{found.version}  {state}  by {claim.owner}, since"
        f" {age_text(found.age_seconds)}, push {claim.push_id}"
    )
    is_old = found.age_seconds > OLD_SECONDS and state != "released"
    if is_old:
        text += "; --release-older-than ends it"
    return (warn if is_old else ok)(
        "claim",
        text,
        asset=found.name,
        version=str(found.version),
        claim_state=state,
        owner=claim.owner,
        age_seconds=round(found.age_seconds),
        push_id=claim.push_id,
    )


def upload_finding(found: "FoundUpload") -> Finding:
    """Tell of bytes that are stored, and that nobody sees."""
    upload, is_old = found.upload.upload, found.age_seconds > OLD_SECONDS
    text = f"{upload.key}  since {age_text(found.age_seconds)}"
    if is_old:
        text += "; --release-older-than aborts it"
    return (warn if is_old else ok)(
        "upload",
        text,
        key=upload.key,
        upload_id=upload.upload_id,
        age_seconds=round(found.age_seconds),
    )


def index_finding(damaged: "DamagedIndex") -> Finding:
    """Tell what is the matter with an index, and who can write it anew."""
    advice = (
        "; --repair writes it anew, so that it lists what has a manifest:"
        f" {count_text(len(damaged.versions), 'version')}"
    )
    if damaged.hindrance is not None:
        advice = f"; {damaged.hindrance}"
    return fail(
        "index",
        f"{damaged.name}  {damaged.failure} ({damaged.failure.reason}){advice}",
        asset=damaged.name,
        reason=damaged.failure.reason,
        version_count=len(damaged.versions),
    )


def odd_finding(odd: "OddVersion") -> Finding:
    """Tell what is the matter with a version, and what to do about it."""
    kind = odd.oddity.value
    told = {
        "unlisted": "exists, and the index does not list it: --repair does",
        "missing": "is listed, and does not exist: restore its .meta, or take it out of the index",
        "orphaned": f"{count_text(odd.part_count, 'part')}, {size_text(odd.size_bytes)}, of a push"
        " that ended: a push of the version uses or replaces them",
        "incomplete": f"lacks {count_text(len(odd.lacks), 'object')} that its .meta names, or has"
        f" another size of: {odd.lacking}; nobody can fetch all of it: restore what it"
        " lacks, or delete its .meta and take it out of the index",
        "litter": "is complete, and a claim is left beside it: --repair removes it",
    }
    return (fail if kind in ("missing", "incomplete") else warn)(
        kind,
        f"{odd.name}:{odd.version}  {told[kind]}",
        asset=odd.name,
        version=str(odd.version),
        part_count=odd.part_count,
        size_bytes=odd.size_bytes,
        **({"lacks": odd.lacks} if odd.lacks else {}),
    )


def unreadable_finding(bad: "Unreadable") -> Finding:
    """Tell of a manifest or a claim that nobody can read."""
    kind = bad.kind.value
    told = {
        "manifest": "nobody can fetch this version: restore the .meta, or delete it and take the"
        " version out of the index",
        "claim": "nobody can push to the asset: unless a later release pushes here, delete the"
        " claim while nobody does",
    }
    return fail(
        kind,
        f"{bad.name}:{bad.version}  {bad.failure} ({bad.failure.reason}); {told[kind]}",
        asset=bad.name,
        version=str(bad.version),
        reason=bad.failure.reason,
    )


def _mended(runner: asyncio.Runner, deeds: "AsyncIterator[Mended]") -> Iterator[Finding]:
    """Do one thing after the other, and tell each as it is done."""

    async def next_deed() -> "Mended | None":
        return await anext(deeds, None)

    while (mended := runner.run(next_deed())) is not None:
        if mended.failure is None:
            yield ok("mended", f"{mended.deed.value} {mended.what}", what=mended.what)
        else:
            reason = f"{mended.failure} ({mended.failure.reason})"
            yield fail("mended", f"not {mended.deed.value} {mended.what}: {reason}")


def age_text(seconds: float) -> str:
    """Return an age as people say it: `3 d`, `5 h`, `12 min`, `40 s`."""
    for unit_seconds, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_seconds:
            return f"{seconds // unit_seconds:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"

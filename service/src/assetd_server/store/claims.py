"""Claims: who pushes which bytes as which version, and the compare-and-swap that changes them.

A claim fixes *bytes*, not a writer, so that no two contents ever mix (`layout.md`, "Push"). It is
`open`, `committing` or `released`; it is changed only by compare-and-swap and deleted only once the
index lists the version. Each write carries a new nonce: equal ETags mean the very same write. A
lost answer is settled by reading again and comparing nonces.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from assetd_server.errors import AssetError, BadManifestError, InvalidVersionError
from assetd_server.manifest import (
    Part,
    decode_json,
    decode_labels,
    decode_moment,
    decode_parts,
    decode_text,
    encode_parts,
    version_digest,
)
from assetd_server.model import AssetKind, AssetName, Digest, PartPath
from assetd_server.store.base import (
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    ObjectStore,
    ObjectTooLargeError,
    Upload,
)
from assetd_server.store.catalog import claim_key, claims_prefix, part_key
from assetd_server.versioning import Version

_FORMAT = 1
_MAX_CLAIM_BYTES = 64 * 2**20


class ClaimState(Enum):
    """`open`: parts may be written; `committing`: to be finished by all; `released`: free."""

    OPEN = "open"
    COMMITTING = "committing"
    RELEASED = "released"


@dataclass(frozen=True)
class Claim:
    """One push of one version. `parts` is empty until the caller has named all files.

    `owner` is the host, for people; `claim_id` tells two daemons apart that share a `push_id`.
    """

    state: ClaimState
    kind: AssetKind
    digest: Digest
    push_id: str
    claim_id: str
    owner: str
    time: datetime
    parts: tuple[Part, ...] = ()
    pushed_by: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    uploads: tuple[Upload, ...] = ()
    nonce: str = ""


@dataclass(frozen=True)
class HeldClaim:
    """A claim as it stands in the store, with the ETag that a swap of it needs."""

    claim: Claim
    etag: str


class Claims:
    """The claims of a bucket. Every method is one conditional call, or a read."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._seen: dict[AssetName, dict[Version, HeldClaim]] = {}

    async def read(self, name: AssetName, version: Version) -> HeldClaim | None:
        """Return the claim of a version; None where there is none.

        Raises:
            BadManifestError: what stands there is no claim.
        """
        key = claim_key(name, version)
        try:
            info, raw = await self._store.get(key, _MAX_CLAIM_BYTES)
        except KeyNotFoundError:
            return None
        except ObjectTooLargeError:
            raise _unreadable(key, "it is too long") from None
        claim = decode_claim(raw, key)
        if not all(is_upload_of(upload, name, version) for upload in claim.uploads):
            raise _unreadable(key, "an upload of something else")
        return HeldClaim(claim, info.etag)

    async def of_asset(self, name: AssetName) -> dict[Version, HeldClaim]:
        """Return all claims of an asset; keys that name no version are nobody's claims.

        One that stood there at the last look is not read again: an ETag names one write.
        """
        prefix, found, seen = claims_prefix(name), {}, self._seen.pop(name, {})
        async for page in self._store.list(prefix, delimiter=True):
            for info in page.objects:
                with suppress(InvalidVersionError):
                    version = Version.parse(info.key.removeprefix(prefix))
                    held = seen.get(version)
                    if held is None or held.etag != info.etag:
                        held = await self.read(name, version)
                    if held is not None:
                        found[version] = held
        if found:
            self._seen[name] = found
        return found

    async def create(self, name: AssetName, version: Version, claim: Claim) -> HeldClaim | None:
        """Claim a version that nobody claims; None where somebody does."""
        claim = _renewed(claim)
        try:
            info = await self._store.create(claim_key(name, version), encode_claim(claim))
        except KeyExistsError:
            return await self._mine(name, version, claim)
        return HeldClaim(claim, info.etag)

    async def swap(
        self, name: AssetName, version: Version, held: HeldClaim, claim: Claim
    ) -> HeldClaim | None:
        """Put `claim` in the place of the very claim that is `held`; None where it is another."""
        claim = _renewed(claim)
        try:
            info = await self._store.swap(claim_key(name, version), encode_claim(claim), held.etag)
        except EtagMismatchError:
            return await self._mine(name, version, claim)
        return HeldClaim(claim, info.etag)

    async def delete(self, name: AssetName, version: Version) -> None:
        """Remove the claim; only once the index lists the version."""
        await self._store.delete(claim_key(name, version))

    async def _mine(self, name: AssetName, version: Version, claim: Claim) -> HeldClaim | None:
        """Settle a refusal that may be about our own earlier write, whose answer was lost."""
        held = await self.read(name, version)
        return held if held is not None and held.claim.nonce == claim.nonce else None


def _renewed(claim: Claim) -> Claim:
    return replace(claim, nonce=uuid.uuid4().hex)


def encode_claim(claim: Claim) -> bytes:
    """Return the JSON of a claim, as it stands in the store."""
    return json.dumps(
        {
            "format": _FORMAT,
            "state": claim.state.value,
            "kind": claim.kind.value,
            "digest": claim.digest,
            "push_id": claim.push_id,
            "id": claim.claim_id,
            "owner": claim.owner,
            "time": claim.time.astimezone(UTC).isoformat(),
            "files": encode_parts(claim.parts),
            "pushed_by": claim.pushed_by,
            "labels": dict(claim.labels),
            "uploads": [[upload.key, upload.upload_id] for upload in claim.uploads],
            "nonce": claim.nonce,
        },
        separators=(",", ":"),
    ).encode()


def decode_claim(raw: bytes, key: str) -> Claim:
    """Return the claim that the object at `key` spells.

    Raises:
        BadManifestError: it is no claim, or of another format. The message names `key`.
    """
    try:
        document: Any = decode_json(raw)
        if document["format"] != _FORMAT:
            raise ValueError("another format")
        state, kind = ClaimState(document["state"]), AssetKind(document["kind"])
        parts, digest = decode_parts(document["files"]), Digest(document["digest"])
        paths = [part.path for part in parts]
        is_final = state is ClaimState.COMMITTING
        if (paths or is_final) and (paths != [""] if kind is AssetKind.FILE else "" in paths):
            raise ValueError("a file has one part without a name, and a directory has none such")
        if is_final and version_digest(kind, parts) != digest:
            raise ValueError("the digest is not that of the files")
        return Claim(
            state=state,
            kind=kind,
            digest=digest,
            push_id=decode_text(document["push_id"], "push_id"),
            claim_id=decode_text(document["id"], "id"),
            owner=decode_text(document["owner"], "owner"),
            time=decode_moment(document["time"], "time"),
            parts=parts,
            pushed_by=decode_text(document["pushed_by"], "pushed_by"),
            labels=decode_labels(document.get("labels", {})),
            uploads=decode_uploads(document["uploads"]),
            nonce=decode_text(document["nonce"], "nonce"),
        )
    except KeyError as error:
        raise _unreadable(key, f"it lacks {error}") from None
    except TypeError:
        raise _unreadable(key, "a value is of another type") from None
    except (ValueError, AssetError) as error:
        raise _unreadable(key, str(error)) from None


def is_upload_of(upload: Upload, name: AssetName, version: Version) -> bool:
    """Tell whether an upload is one of a part of the version: others are not ours to end."""
    whole = part_key(name, version, PartPath.of_file())
    return upload.key == whole or upload.key.startswith(f"{whole}/")


def decode_uploads(listed: Iterable[Sequence[object]]) -> tuple[Upload, ...]:
    """Return the uploads that are spelled by a key and an id each.

    Raises:
        ValueError, TypeError: they spell none.
    """
    return tuple(
        Upload(decode_text(key, "a key"), decode_text(upload_id, "an upload"))
        for key, upload_id in listed
    )


def _unreadable(key: str, why: str) -> BadManifestError:
    return BadManifestError(
        "the claim {key} cannot be read ({why}): it was written by another release, or damaged",
        key=key,
        why=why,
    )

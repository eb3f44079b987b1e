"""The targets that are documents: of the bucket, of ASSETS_DIR, and page tokens.

What is accepted has to be consistent, to lie below its folder, and to survive being written again
or told on the wire.
"""

import base64
import hashlib
import json
import os
from collections.abc import Coroutine, Iterable
from datetime import UTC
from pathlib import Path
from typing import Any, Final, TypeVar

from assetd import _local
from assetd.asset import Verification as ClientVerification
from assetd_server.assets.paging import make_token, read_token
from assetd_server.cache.journal import Written, identity, read_journal
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.receipt import Marker, Receipt, decode_marker
from assetd_server.errors import (
    BadIndexError,
    BadManifestError,
    InvalidPageTokenError,
    MixedVersioningError,
)
from assetd_server.manifest import (
    Manifest,
    Part,
    decode_index,
    decode_manifest,
    encode_index,
    encode_manifest,
)
from assetd_server.model import AssetKind, AssetName, PartPath, require_distinct_parts
from assetd_server.store.base import ObjectInfo, ObjectTooLargeError
from assetd_server.store.claims import Claim, Claims, HeldClaim
from assetd_server.versioning import Version, Versions
from awscrt import checksums

from tests.fuzz.mutating import in_base64, in_lines, of_documents
from tests.fuzz.places import require_version_in_place
from tests.fuzz.target import Target, as_text, document_target
from tests.support.memory_store import MemoryStore
from tests.support.versions import manifest_of, receipt_of

T = TypeVar("T")

NAME: Final = AssetName("some/asset")
VERSION: Final = Version.parse("0.1")
FOLDER: Final = {"a": b"one", "sub/b": b"two", ".gitattributes": b""}
PARTS: Final = manifest_of(FOLDER).parts
ARGUMENTS: Final = ("some/", "all", False)

_OF_FOLDER: Final = encode_manifest(manifest_of(FOLDER))
_MODELKITS: Final = (
    b'{"push_date":"2026-11-01T12:00:00","is_directory":true,"contents":["a","sub/b"]}',
    b'{"push_date":"2026-11-01T12:00:00","is_directory":false}',
)
_LABELLED: Final = _OF_FOLDER.replace(b'"labels":{}', b'"labels":{"stage":"test"}')
_MANIFESTS: Final = (_OF_FOLDER, _LABELLED, encode_manifest(manifest_of(b"file")), *_MODELKITS)
_INDEXES: Final = (
    b'{"versions": ["1.0", "0.1", "0.0"]}',
    b'{"versions": ["2026-11-23T09-30-00Z", "2025-01-01T00-00-00Z"]}',
    b'{"versions": []}',
)
_RECEIPTS: Final = (receipt_of(FOLDER).encode(), receipt_of(b"file").encode())
_TOKENS: Final = tuple(
    make_token(ARGUMENTS, after).encode() for after in (("a", "0.1"), ("", ""), ("\u00e9/b", "1"))
)
CLAIM: Final = json.dumps(
    {
        "format": 1,
        "state": "open",
        "kind": "directory",
        "digest": manifest_of(FOLDER).digest,
        "push_id": "p",
        "id": "i",
        "owner": "o",
        "time": "2026-11-23T09:30:00+00:00",
        "files": json.loads(_OF_FOLDER)["assetd"]["files"],
        "pushed_by": "",
        "uploads": [["some/asset/0.1/a", "u"]],
        "nonce": "n",
    }
).encode()


def document_targets(folder: Path) -> Iterable[Target]:
    """Yield them; `folder` is for the client, which reads real files."""
    yield _of(
        "manifest",
        lambda raw: decode_manifest(raw, "key"),
        (BadManifestError,),
        judge_manifest,
        _MANIFESTS,
        consistent_manifest,
    )
    yield _of(
        "index",
        lambda raw: decode_index(raw, "key"),
        (BadIndexError, MixedVersioningError),
        judge_index,
        _INDEXES,
    )
    yield _of("claim", read_claim, (BadManifestError,), judge_claim, (CLAIM,))
    yield _of("receipt", decode_marker, (), judge_receipt, _RECEIPTS, consistent_receipt)
    yield _of("client-receipt", ClientReceipt(folder).facts, (), judge_facts, _RECEIPTS, opens=True)
    journal = _journal()
    yield document_target(
        "journal",
        StagingJournal(folder).read,
        judge_journal,
        (journal,),
        in_lines(of_documents((b'["a",0,1,2,""]', b'["a"]')), _signed),
        opens=True,
    )
    token_seeds = [base64.urlsafe_b64decode(token) for token in _TOKENS]
    yield Target(
        "token",
        lambda text: read_token(text, ARGUMENTS, 2),
        (InvalidPageTokenError,),
        judge_token,
        _TOKENS,
        in_base64(of_documents(token_seeds)),
        as_text,
        20_000,
    )


def _of(
    name: str,
    read: Any,
    refusals: tuple[type[Exception], ...],
    judge: Any,
    seeds: tuple[bytes, ...],
    repair: Any = lambda document: document,
    *,
    opens: bool = False,
) -> Target:
    mutate = of_documents(seeds, repair)
    return document_target(name, read, judge, seeds, mutate, refusals=refusals, opens=opens)


def consistent_manifest(document: Any) -> Any:
    """The document with the contents and the digest of its files."""
    ours = document["assetd"]
    files = dict(sorted(ours["files"].items(), key=lambda item: item[0].encode()))
    if document["is_directory"]:
        document["contents"] = list(files)
        listing = "".join(f"{facts['sha256']}  {path}\n" for path, facts in files.items())
        ours["digest"] = "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
    else:
        ours["digest"] = "sha256:" + files[""]["sha256"]
    return document


def consistent_receipt(document: Any) -> Any:
    """The document with the size of its files."""
    document["size"] = sum(facts["size"] for facts in document["files"].values())
    return document


def judge_manifest(_raw: bytes, manifest: Manifest | None) -> None:
    """It can be fetched, told, and written again."""
    if manifest is None:
        return
    require_sound(manifest)
    assert manifest.digest is None or len(manifest.digest) == 71
    assert [part.path for part in manifest.parts] == sorted(
        (part.path for part in manifest.parts), key=str.encode
    )
    if None not in {fact for part in manifest.parts for fact in (part.sha256_hex, part.crc64nvme)}:
        assert decode_manifest(encode_manifest(manifest), "key") == manifest


def require_sound(manifest: Manifest) -> None:
    """Its parts make a folder or a file, its numbers fit, and its words go over a wire."""
    require_fitting(manifest.kind, manifest.parts)
    for text in (manifest.push_id, manifest.pushed_by, *manifest.labels, *manifest.labels.values()):
        text.encode()
    manifest.push_time.astimezone(UTC)
    assert manifest.size_bytes is None or 0 <= manifest.size_bytes < 2**63


def require_fitting(kind: AssetKind, parts: Iterable[Part]) -> None:
    """The parts are those of a file, or of a folder."""
    paths = [part.path for part in parts]
    if kind is AssetKind.FILE:
        assert paths == [""]
        return
    require_distinct_parts(paths)
    for path in paths[:50]:
        assert PartPath(str(path)) == path
        require_version_in_place(NAME, VERSION, path)


def judge_index(_raw: bytes, versions: Versions | None) -> None:
    """Each once, newest first; and it is written as it is read."""
    if versions is None:
        return
    assert [*versions] == sorted(set(versions), reverse=True)
    assert all(Version.parse(str(version)) == version for version in versions)
    assert decode_index(encode_index(versions), "key") == versions


class _OneObject(MemoryStore):
    """A store that holds the same under every key, and never makes anybody wait."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw

    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        if len(self._raw) > max_bytes:
            raise ObjectTooLargeError(key)
        return ObjectInfo(key, len(self._raw), "etag"), self._raw


def read_claim(raw: bytes) -> HeldClaim | None:
    """Return the claim that a store holds."""
    return at_once(Claims(_OneObject(raw)).read(NAME, VERSION))


def at_once(asked: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits."""
    try:
        asked.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it waits for somebody")


def judge_claim(_raw: bytes, held: HeldClaim | None) -> None:
    """Its parts can be stored, its age told, and its words go over a wire."""
    if held is not None:
        judge_claimed(held.claim)


def judge_claimed(claim: Claim) -> None:
    """As `judge_claim`, of what was read."""
    if claim.parts:
        require_fitting(claim.kind, claim.parts)
    assert claim.time.astimezone(UTC) == claim.time
    for text in (claim.push_id, claim.claim_id, claim.owner, claim.pushed_by, claim.nonce):
        text.encode()
    for upload in claim.uploads:
        f"{upload.key} {upload.upload_id}".encode()


def judge_receipt(raw: bytes, read: tuple[Marker, Receipt | None] | None) -> None:
    """It is ours with every size, or it vouches for nothing; and it is written as it is read."""
    assert read is not None
    marker, receipt = read
    assert (receipt is not None) is (marker is Marker.RECEIPT)
    assert marker is not Marker.ABSENT
    if receipt is None:
        return
    require_sound(receipt.manifest)
    assert receipt.manifest.size_bytes is not None
    again = decode_marker(receipt.encode())[1]
    assert again is not None, raw
    assert again.manifest == receipt.manifest


class OneFile:
    """A file whose content is another each time."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR)

    def hold(self, raw: bytes) -> None:
        """Have these bytes."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, raw, 0)


class ClientReceipt:
    """What the client reads of a marker, on a disk as it has to be."""

    def __init__(self, folder: Path) -> None:
        self._file = OneFile(folder / "marker")

    def facts(self, raw: bytes) -> list[object]:
        """Return the facts of a hit whose marker has these bytes."""
        self._file.hold(raw)
        asset = _local.LocalAsset({"_marker": self._file.path, "_text": "", "_hold": None})
        return [asset.digest, asset.size_bytes, asset.file_count, asset.verification]


def judge_facts(_raw: bytes, facts: list[object] | None) -> None:
    """All of them, or none."""
    assert facts is not None
    digest, size, count, verification = facts
    assert isinstance(digest, str)
    assert isinstance(verification, ClientVerification)
    assert isinstance(size, int) is isinstance(count, int)


class StagingJournal:
    """The journal of what is staged, on a disk as it has to be."""

    def __init__(self, folder: Path) -> None:
        (folder / "staged").mkdir()
        self._file = OneFile(folder / "staged/journal")
        self._dir = AssetsDir(str(folder), FileSystem())

    def read(self, raw: bytes) -> dict[PartPath, list[Written]]:
        """Return what a journal of these bytes says."""
        self._file.hold(raw)
        return read_journal(self._dir, "staged", AssetKind.DIRECTORY, PARTS)


def _signed(text: bytes) -> bytes:
    return b"%016x %s" % (checksums.crc64nvme(text), text)


def _journal() -> bytes:
    head = {"format": 1, "identity": identity(AssetKind.DIRECTORY, PARTS)}
    records: list[object] = [
        head,
        ["a", 0, 2, 7, "e"],
        ["sub/b", 0, 3, 8, ""],
        ["a"],
        ["a", 1, 2, 9, ""],
    ]
    lines = [_signed(json.dumps(record, separators=(",", ":")).encode()) for record in records]
    return b"\n".join([*lines, b""])


def judge_journal(_raw: bytes, found: dict[PartPath, list[Written]] | None) -> None:
    """It speaks of ranges that the parts have, and of no other part."""
    assert found is not None
    sizes = {part.path: part.size_bytes or 0 for part in PARTS}
    for path, ranges in found.items():
        for written in ranges:
            assert written.part == path
            assert 0 <= written.start <= written.end <= sizes[path]
            json.dumps([written.crc64nvme, written.etag])


def judge_token(text: str, after: list[str] | None) -> None:
    """What comes back are the strings that a page follows; the empty token is the first page."""
    if after is None:
        return
    assert text
    assert len(after) == 2
    assert all(isinstance(word, str) for word in after)
    "".join(after).encode()
    # What was made of ASCII may be too long where every sign is escaped.
    if len(text) < 2_000:
        assert read_token(make_token(ARGUMENTS, after), ARGUMENTS, 2) == after

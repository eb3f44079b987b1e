"""Bad pushes: each its documented reason, a message that helps, and nothing created.

The messages go over the wire as they are, all at once, past the checks of any helper.
"""

from hashlib import sha256
from typing import Any

import pytest
from assetd.v1.asset_pb2 import AssetKind
from assetd.v1.asset_service_pb2 import (
    PushChunk,
    PushCommit,
    PushFile,
    PushFiles,
    PushHeader,
    PushRequest,
)
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub

from tests.support.daemon import Daemon
from tests.support.refusals import Bad, bad, check, daemon, nothing_left_behind
from tests.support.wire import failure_of

__all__ = ["daemon", "nothing_left_behind"]

pytestmark = pytest.mark.xdist_group("bad_input")

NOT_FOUND = "NOT_FOUND"


def header(spec: str = "new/asset", **fields: Any) -> PushRequest:
    """The first step of a push of a folder."""
    fields.setdefault("kind", AssetKind.ASSET_KIND_DIRECTORY)
    return PushRequest(header=PushHeader(spec=spec, **fields))


def files(*paths: str, size_bytes: int = 3, digest: str = "") -> PushRequest:
    """The announcement of files that are all alike."""
    announced = [PushFile(path=path, size_bytes=size_bytes, digest=digest) for path in paths]
    return PushRequest(files=PushFiles(files=announced))


def chunk(path: str, data: bytes = b"abc", offset: int = 0) -> PushRequest:
    """Some bytes."""
    return PushRequest(chunk=PushChunk(path=path, data=data, offset=offset))


def commit(digest: str = "") -> PushRequest:
    """The last step."""
    return PushRequest(commit=PushCommit(digest=digest))


OTHER = "sha256:" + sha256(b"other").hexdigest()
PUSHES = [
    # Names that could not be fetched, or would hide what belongs to another asset.
    bad([header("new/a_")], "INVALID_NAME", "'new/a_'", "begin and end with a letter or digit"),
    bad([header("new/_a")], "INVALID_NAME", "'new/_a'", "begins and ends with a letter or digit"),
    bad([header("new/1.0")], "INVALID_NAME", "'new/1.0'", "reads as a version"),
    bad([header("new/2/x")], "INVALID_NAME", "'new/2/x'", "reads as a version"),
    bad([header("new/x.versions")], "INVALID_NAME", "'new/x.versions'", "reserved ending"),
    bad([header("new/x.meta")], "INVALID_NAME", "'new/x.meta'", "reserved ending"),
    bad([header("new/asset[part]")], "INVALID_FIELD", "'new/asset[part]'", "pushed whole"),
    # Headers that contradict themselves.
    bad([header(kind=0)], "INVALID_FIELD", "header.kind", "the API names"),
    bad([header(push_id="not-a-uuid")], "INVALID_FIELD", "'not-a-uuid'", "UUID4"),
    bad([header("new/asset:1.2", bump=2)], "INVALID_FIELD", "'new/asset:1.2'", "leave bump unset"),
    bad([header(digest="sha1:1")], "INVALID_FIELD", "'sha1:1'", "64 lower-case hex digits"),
    # Part paths.
    bad([header(), files("../up")], "INVALID_PART", "'../up'", "below its version"),
    bad([header(), files("/etc/passwd")], "INVALID_PART", "'/etc/passwd'", "below its version"),
    bad([header(), files("a\x00b")], "INVALID_PART", "NUL and control characters"),
    bad([header(), files("sub/.SUCCESS")], "INVALID_PART", ".SUCCESS marks a complete version"),
    bad([header(), files("a", "a")], "INVALID_FIELD", "'a'", "twice"),
    bad(
        [header(), files("a", "a/b"), chunk("a"), chunk("a/b"), commit()],
        "INVALID_PART",
        *("'a'", "a file and a folder at once"),
    ),
    bad([header(), files("a", size_bytes=-1)], "INVALID_FIELD", "files.files[0].size_bytes"),
    bad([header(), files("")], "INVALID_FIELD", "needs a path"),
    # Steps in another order.
    bad([files("a")], "INVALID_PUSH_STREAM", "begins with its header"),
    bad([header(), header()], "INVALID_PUSH_STREAM", "one header"),
    bad([header(), chunk("a")], "INVALID_PUSH_STREAM", "'a'", "before the file was announced"),
    bad([header(), commit()], "INVALID_PUSH_STREAM", "at least one file"),
    bad([PushRequest()], "INVALID_PUSH_STREAM", "set header, files, chunk, chunks or commit"),
    # Bytes that are not those announced.
    bad([header(), files("a"), chunk("a", b"ab"), commit()], "PUSH_MISMATCH", "'a'", "2", "3"),
    bad([header(), files("a"), chunk("a", b"abcd"), commit()], "PUSH_MISMATCH", "'a'", "4", "3"),
    bad([header(), files("a"), chunk("a", offset=1)], "PUSH_MISMATCH", "'a'", "in order"),
    bad(
        [header(), files("a", digest=OTHER), chunk("a"), commit()],
        "PUSH_MISMATCH",
        *("'a'", sha256(b"abc").hexdigest(), sha256(b"other").hexdigest()),
    ),
    bad([header(), files("a"), chunk("a"), commit(OTHER)], "PUSH_MISMATCH", OTHER),
    # Ends without a commit.
    bad(
        [header(), files("a"), chunk("a")],
        "PUSH_NOT_COMMITTED",
        *("new/asset", "nothing was created"),
        code="ABORTED",
    ),
    # What exists, or does not.
    bad(
        [header("good/folder", mode=1)],
        "ASSET_EXISTS",
        *("good/folder", "0.0", "push an update"),
        code="ALREADY_EXISTS",
    ),
    bad(
        [header("new/asset", mode=2)],
        "ASSET_NOT_FOUND",
        *("new/asset", "push it as a new one"),
        code=NOT_FOUND,
    ),
    bad(
        [header("good/folder:0.0"), files("a"), chunk("a"), commit()],
        "VERSION_EXISTS",
        *("good/folder:0.0", "push the next version"),
        code="ALREADY_EXISTS",
    ),
]


@pytest.mark.parametrize("row", PUSHES, ids=str)
def test_a_bad_push_creates_nothing(daemon: Daemon, row: Bad) -> None:
    """A push whose messages contradict each other is refused, and creates nothing.

    All messages at once, as those send them who have no helper; no version, no bytes.
    """
    with daemon.channel() as channel:
        check(failure_of(lambda: AssetServiceStub(channel).Push(iter(row.request))), row)

"""Bad input of every kind: its documented reason, a message that helps, and nothing left behind.

Requests go over the wire as they are, past the checks of any helper. What the disk and the store do
stands in `test_disk` and `test_store_down`.
"""

from collections.abc import Callable
from typing import TypeVar

import pytest
from assetd.v1.asset_pb2 import AssetKind
from assetd.v1.asset_service_pb2 import (
    FetchRequest,
    ListFilesRequest,
    ListRequest,
    PushCommit,
    PushHeader,
    PushRequest,
    ResolveVersionRequest,
)
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from tests.support.daemon import Daemon
from tests.support.refusals import Bad, bad, check, daemon, nothing_left_behind
from tests.support.wire import Failure, failure_of

__all__ = ["daemon", "nothing_left_behind"]

pytestmark = pytest.mark.xdist_group("bad_input")

DIGEST = "sha256:" + 64 * "0"
NOT_FOUND = "NOT_FOUND"

SPECS = [
    bad("", "INVALID_SPEC", "the spec is empty"),
    bad("good/file:", "INVALID_SPEC", "'good/file:'", "leave ':' out"),
    bad("good/folder[sub", "INVALID_SPEC", "'good/folder[sub'", "write name:version[sub/part]"),
    bad("good/folder]", "INVALID_SPEC", "']' without '['"),
    bad("a" * 5000, "INVALID_SPEC", "at most 4096 characters"),
    bad("../etc/passwd", "INVALID_NAME", "'../etc/passwd'", "begin and end with a letter"),
    bad("/etc/passwd", "INVALID_NAME", "'/etc/passwd'"),
    bad("a/../../b", "INVALID_NAME", "'a/../../b'", "'..'"),
    bad("a//b", "INVALID_NAME", "'a//b'", "'//'"),
    bad("a\\b", "INVALID_NAME", "use letters"),
    bad("a\x00b", "INVALID_NAME", "use letters"),
    bad("a\nb", "INVALID_NAME", "use letters"),
    bad("spaced name", "INVALID_NAME", "'spaced name'"),
    bad("n\u00e4me", "INVALID_NAME", "use letters"),
    bad("a" * 256, "INVALID_NAME", "at most 255 bytes"),
    bad("/".join(["a" * 200] * 6), "INVALID_NAME", "at most 1024 bytes"),
    bad("good/file:1.2.3", "INVALID_VERSION", "'1.2.3'", "major.minor as in 1.2"),
    bad("good/file:01", "INVALID_VERSION", "'01'", "no leading zeros"),
    bad("good/file:0.0\n", "INVALID_VERSION", "major.minor"),
    bad("good/file:..", "INVALID_VERSION", "'..'"),
    bad("good/file:\u0663", "INVALID_VERSION", "major.minor"),
    bad("good/file:1" + "0" * 20, "INVALID_VERSION", "major.minor"),
    bad("good/file:2026-13-01T00-00-00Z", "INVALID_VERSION", "a date as in"),
    bad("good/folder[../../etc]", "INVALID_PART", "'../../etc'", "below its version"),
    bad("good/folder[sub/../../x]", "INVALID_PART", "'sub/../../x'"),
    bad("good/folder[//etc]", "INVALID_PART", "below its version"),
    bad("good/folder[a\\b]", "INVALID_PART", "NUL and control characters"),
    bad("good/folder[a\x00b]", "INVALID_PART", "NUL and control characters"),
    bad("good/folder[.SUCCESS]", "INVALID_PART", ".SUCCESS marks a complete version"),
    bad("good/folder[]", "INVALID_PART", "below its version"),
    bad("good/folder[" + "a" * 256 + "]", "INVALID_PART", "at most 255 bytes"),
]


@pytest.mark.parametrize("row", SPECS, ids=str)
def test_a_bad_spec_is_refused_by_every_method(daemon: Daemon, row: Bad) -> None:
    """One grammar holds for every method that takes a spec.

    ResolveVersion, Fetch, ListFiles and Push.
    """
    spec = row.request
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)
        header = PushHeader(spec=spec, kind=AssetKind.ASSET_KIND_FILE)
        for call in (
            lambda: stub.ResolveVersion(ResolveVersionRequest(spec=spec)),
            lambda: stub.Fetch(FetchRequest(spec=spec)),
            lambda: stub.ListFiles(ListFilesRequest(spec=spec)),
            lambda: stub.Push(iter([PushRequest(header=header)])),
        ):
            check(failure_of(call), row)


FETCHES = [
    bad(FetchRequest(spec="good/none"), "ASSET_NOT_FOUND", "good/none", "spelling", code=NOT_FOUND),
    bad(
        FetchRequest(spec="good/file:7"),
        "VERSION_NOT_FOUND",
        *("good/file", "no version 7", "newest is 0.0"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/file:0.7"),
        "VERSION_NOT_FOUND",
        *("good/file", "0.7"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/folder[sub/none]"),
        "PART_NOT_FOUND",
        *("good/folder:0.0", "sub/none", "`ListFiles` tells"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/file:0.0[sub]"),
        "PART_NOT_FOUND",
        *("good/file:0.0", "sub"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/folder", part_only=True),
        "INVALID_FIELD",
        *("part_only needs a part", "good/folder", "write name:version[sub/part]"),
    ),
    bad(
        FetchRequest(spec="good/folder[sub]", part_only=True, include=["*"]),
        "INVALID_FIELD",
        *("part_only", "include and exclude out"),
    ),
    bad(FetchRequest(spec="good/folder", include=[""]), "INVALID_FIELD", "include", "is no glob"),
    bad(
        FetchRequest(spec="good/file", exclude=["*.txt"]),
        "INVALID_FIELD",
        *("good/file:0.0", "no parts to choose from"),
    ),
    bad(
        FetchRequest(spec="good/folder", include=["*.nope"]),
        "PART_NOT_FOUND",
        *("good/folder:0.0", "`ListFiles` takes the same globs"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/folder[config.json]", include=["sub/*"]),
        "PART_NOT_FOUND",
        *("config.json", "leave it out"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/folder[none]", part_only=True),
        "PART_NOT_FOUND",
        *("good/folder:0.0", "none", "`ListFiles` tells"),
        code=NOT_FOUND,
    ),
    bad(
        FetchRequest(spec="good/folder", expected_digest=DIGEST),
        "DIGEST_MISMATCH",
        *("good/folder:0.0", DIGEST, "not the content that was pinned"),
        code="DATA_LOSS",
    ),
    bad(
        FetchRequest(spec="good/folder", expected_digest="sha256:short"),
        "INVALID_FIELD",
        *("'sha256:short'", "64 lower-case hex digits"),
    ),
    bad(
        FetchRequest(spec="good/file", store_timeout=Duration()),
        "INVALID_FIELD",
        *("store_timeout", "it must be positive"),
    ),
    bad(
        FetchRequest(spec="good/file", freshness=99),  # type: ignore[arg-type]
        "INVALID_FIELD",
        *("freshness", "99", "the API names"),
    ),
]


@pytest.mark.parametrize("row", FETCHES, ids=str)
def test_a_bad_fetch_is_refused(daemon: Daemon, row: Bad) -> None:
    """Also where the version is cached: a hit is checked against what was asked."""
    with daemon.channel() as channel:
        check(failure_of(lambda: AssetServiceStub(channel).Fetch(row.request)), row)


# As a later release may number it.
LATER_FIELD = b"\xf8\x3f\x01"


M = TypeVar("M", bound=Message)


def later(message: M) -> M:
    """The same message with a field 1023 that this release does not know."""
    return type(message).FromString(message.SerializeToString() + LATER_FIELD)


LATER_CALLS: dict[str, Callable[[AssetServiceStub], object]] = {
    "PushHeader": lambda stub: stub.Push(
        iter([PushRequest(header=later(PushHeader(spec="a", kind=AssetKind.ASSET_KIND_FILE)))])
    ),
    "PushRequest": lambda stub: stub.Push(iter([later(PushRequest(commit=PushCommit()))])),
    "FetchRequest": lambda stub: stub.Fetch(later(FetchRequest(spec="good/file"))),
    "ListRequest": lambda stub: stub.List(later(ListRequest())),
}


@pytest.mark.parametrize("message", LATER_CALLS)
def test_what_is_not_built_is_refused(daemon: Daemon, message: str) -> None:
    """A field of a later release is refused as `NOT_BUILT`, and never ignored.

    A caller that relies on it would get something else than it asked for.
    """
    with daemon.channel() as channel:
        failure = failure_of(lambda: LATER_CALLS[message](AssetServiceStub(channel)))
    check(failure, bad(None, "NOT_BUILT", message, "later release", code="UNIMPLEMENTED"))
    assert failure.metadata["field"] == f"assetd.v1.{message}.1023"


LISTINGS = [
    bad(ListRequest(page_token="x"), "INVALID_PAGE_TOKEN", "list again from the first page"),
    bad(ListRequest(page_token="\u00e4"), "INVALID_PAGE_TOKEN", "not made by this method"),
    bad(ListRequest(page_token="A" * 20_000), "INVALID_PAGE_TOKEN", "not made by this method"),
    bad(ListRequest(page_size=-1), "INVALID_FIELD", "page_size", "must not be negative"),
    bad(
        ListRequest(scope=99),  # type: ignore[arg-type]
        "INVALID_FIELD",
        *("scope", "99"),
    ),
    bad(ListFilesRequest(spec="good/folder", page_token="x"), "INVALID_PAGE_TOKEN", "first page"),
    bad(ListFilesRequest(spec="good/folder", page_size=-1), "INVALID_FIELD", "page_size"),
    bad(
        ListFilesRequest(spec="good/folder[none]"),
        "PART_NOT_FOUND",
        *("good/folder:0.0", "none"),
        code=NOT_FOUND,
    ),
]


@pytest.mark.parametrize("row", LISTINGS, ids=str)
def test_a_bad_listing_is_refused(daemon: Daemon, row: Bad) -> None:
    """Tokens that are none, sizes that are none."""
    with daemon.channel() as channel:
        check(failed_listing(AssetServiceStub(channel), row.request), row)


def test_a_page_token_is_bound_to_its_arguments(daemon: Daemon) -> None:
    """A token of one listing is none for another, nor for the other method."""
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)
        token = stub.List(ListRequest(page_size=1)).next_page_token
        assert token
        for request in (
            ListRequest(page_token=token, name_prefix="good"),
            ListRequest(page_token=token, latest_only=True),
            ListFilesRequest(page_token=token, spec="good/folder"),
        ):
            row = bad(request, "INVALID_PAGE_TOKEN", "list again from the first page")
            check(failed_listing(stub, request), row)


def failed_listing(stub: AssetServiceStub, request: ListRequest | ListFilesRequest) -> Failure:
    """Call the method that takes the request."""
    if isinstance(request, ListRequest):
        return failure_of(lambda: stub.List(request))
    return failure_of(lambda: stub.ListFiles(request))

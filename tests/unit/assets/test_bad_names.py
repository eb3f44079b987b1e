"""Bad names and versions from the wire to the store: refused before anybody is asked for anything.

Through the conversion of requests and the facade, as a handler goes; only gRPC itself is left out.
"""

from collections.abc import Awaitable, Callable

import pytest
from assetd.v1.asset_pb2 import AssetKind
from assetd.v1.asset_service_pb2 import (
    FetchRequest,
    ListFilesRequest,
    PushHeader,
    PushRequest,
    ResolveVersionRequest,
)
from assetd_server.errors import (
    AssetError,
    InvalidNameError,
    InvalidSpecError,
    InvalidVersionError,
    MixedVersioningError,
)
from assetd_server.rpc.convert import fetch_order, list_files_order, resolve_order
from assetd_server.rpc.push_convert import step_of

from tests.support.assets_bench import Bench, Daemon, told
from tests.support.trees import read_tree

Call = Callable[[Daemon, str], Awaitable[object]]


async def resolve(daemon: Daemon, spec: str) -> None:
    """ResolveVersion."""
    await daemon.assets.resolve(resolve_order(ResolveVersionRequest(spec=spec)))


async def fetch(daemon: Daemon, spec: str) -> None:
    """Fetch."""
    async for _ in daemon.assets.fetch(fetch_order(FetchRequest(spec=spec))):
        pass


async def list_files(daemon: Daemon, spec: str) -> None:
    """ListFiles."""
    await daemon.assets.list_files(list_files_order(ListFilesRequest(spec=spec)))


async def push(daemon: Daemon, spec: str) -> None:
    """Push, up to its first answer."""
    header = PushHeader(spec=spec, kind=AssetKind.ASSET_KIND_FILE)
    async for _ in daemon.assets.push(told([step_of(PushRequest(header=header))])):
        pass


CALLS = [resolve, fetch, list_files, push]

NAMES = [
    *("", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "a/./b", "a..b", "~/a", "~root"),
    *(
        ".a",
        ".assetd/a",
        "-a",
        "a_",
        "a.",
        "a b",
        " a",
        "a ",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\n",
    ),
    *(
        "a\tb",
        "a\x7fb",
        "\x1b[31ma",
        "a%2e%2eb/\u2024",
        "a\u202eb",
        "\u202ea",
        "a\u200bb",
        "\ufeffa",
    ),
    *("\u00e9", "e\u0301", "\u212b", "\uff41", "\u0430", "a\u00a0b", "\U0001f600", "a\U0001f600b"),
    *(
        "a" * 256,
        "b/" + "a" * 256,
        "/".join(["a" * 200] * 6),
        "a/" * 600 + "a",
        "a*",
        "a?",
        "$HOME",
    ),
]
RESERVED = [
    *("a/0.0", "0.0", "0.0/a", "a/1/b", "7", "a/007", "a/00.0", "2026-11-23T09-30-00Z/a"),
    *("a/2026-11-23T09-30-00Z", "a/2026-99-99T99-99-99Z", "a.versions", "a.versions/b", "a.lock"),
    *("a/0.0.meta", "a.meta", "a/0.0.SUCCESS", "a.lock/b"),
    # What modelkit takes and cannot fetch, and what its folders hide.
    *("a/.hidden/b", "a/-b/c", "a/b_/c", "a/b./c"),
]
VERSIONS = [
    *(
        "..",
        "../0.0",
        "0.0\n",
        "0.0 ",
        " 0.0",
        "00.0",
        "0.01",
        "01",
        "00",
        "+1",
        "-1",
        "1.",
        ".1",
        "1.2.3",
    ),
    *("1" * 20, "0." + "1" * 20, "1" * 19 + ".0", "1e3", "0x1", "1_0", "1,0", "v1", "latest", "*"),
    *("\u0663", "\u0663.\u0663", "1.\uff11", "\u00b2", "\u0967.0", "2026-13-01T00-00-00Z"),
    *(
        "2026-00-01T00-00-00Z",
        "2026-01-32T00-00-00Z",
        "2026-02-29T00-00-00Z",
        "0000-01-01T00-00-00Z",
    ),
    *(
        "2026-99-99T99-99-99Z",
        "2026-01-01T24-00-00Z",
        "2026-01-01T00-60-00Z",
        "2026-01-01T00-00-60Z",
    ),
    *("2026-1-1T00-00-00Z", "2026-01-01T00-00-00z", "2026-01-01T00-00-00Z\n", "2026-01-01"),
]


async def require_refused(
    bench: Bench, daemon: Daemon, call: Call, spec: str, *errors: type[AssetError]
) -> None:
    """Check that the call fails so, and that neither store nor disk was asked for anything."""
    bench.store.calls.clear()
    before = read_tree(daemon.root)
    with pytest.raises(errors):
        await call(daemon, spec)
    assert bench.store.calls == []
    assert read_tree(daemon.root) == before


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_bad_name_asks_the_store_for_nothing(
    bench: Bench, daemon: Daemon, name: str
) -> None:
    """A name outside of the grammar is refused by every method before a store call is made."""
    for call in CALLS:
        for version in ("", ":0.1"):
            spec = name + version
            await require_refused(bench, daemon, call, spec, InvalidNameError, InvalidSpecError)


@pytest.mark.parametrize("name", RESERVED, ids=ascii)
async def test_a_reserved_name_is_not_pushed(bench: Bench, daemon: Daemon, name: str) -> None:
    """What reads as a version, an index, a lock or a marker is never pushed.

    It is refused before a store call is made.
    """
    for spec in (name, f"{name}:0.1"):
        await require_refused(bench, daemon, push, spec, InvalidNameError)


@pytest.mark.parametrize("version", VERSIONS, ids=ascii)
async def test_a_bad_version_asks_the_store_for_nothing(
    bench: Bench, daemon: Daemon, version: str
) -> None:
    """A version has one spelling, and any other is refused before a store call is made."""
    for call in CALLS:
        await require_refused(bench, daemon, call, f"some/asset:{version}", InvalidVersionError)


@pytest.mark.parametrize("call", CALLS)
async def test_mixed_systems_have_no_newest(bench: Bench, daemon: Daemon, call: Call) -> None:
    """No guess is made of which is newer, a number or a date; the index stays as it was."""
    index = b'{"versions": ["1.0", "2026-11-23T09-30-00Z"]}'
    await bench.memory.put("x/mixed.versions", index)
    with pytest.raises(MixedVersioningError):
        await call(daemon, "x/mixed")
    assert await bench.store.bytes_of("x/mixed.versions") == index


async def test_the_newest_of_a_major_in_any_order(bench: Bench, daemon: Daemon) -> None:
    """`1` in [12.0, 2.0, 1.5] is 1.5, however the index is sorted, and never 12.0."""
    await bench.modelkit_pushes("x/y:1.5", b"data")
    for order in (["12.0", "2.0", "1.5"], ["1.5", "12.0", "2.0", "1.5"]):
        listed = ", ".join(f'"{version}"' for version in order)
        await bench.memory.put("x/y.versions", f'{{"versions": [{listed}]}}'.encode())
        request = ResolveVersionRequest(spec="x/y:1")
        meaning = await daemon.assets.resolve(resolve_order(request))
        assert str(meaning.asset_version) == "x/y:1.5"

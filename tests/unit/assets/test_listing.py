"""List and ListFiles: the order, the pages, who was asked, and who did not answer."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from assetd_server.assets.orders import FilesPage, ListEntry, ListFilesOrder, ListOrder, Scope
from assetd_server.errors import (
    AssetError,
    AssetNotFoundError,
    BadIndexError,
    BadManifestError,
    InvalidFieldError,
    InvalidPageTokenError,
    NoStoreError,
    NotCachedError,
    PartNotFoundError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from assetd_server.manifest import encode_index, encode_manifest
from assetd_server.model import AssetKind, Freshness, Presence, Source
from assetd_server.rpc.answers import list_response
from assetd_server.spec import Spec
from assetd_server.versioning import Version, newest_first

from tests.support.assets_bench import Bench, Daemon, digest_of, paths_of
from tests.support.versions import manifest_of, put

TREE = {".dot": b"0", "a": b"1", "b/c": b"22", "b/d/e": b"333", "b0": b"4444", "z": b""}
# In the store: x/a 0.0 to 0.2, x/b 0.0 to 0.1, x/b/c 0.0. In the cache: x/a 0.1, z/local 1.0.
IN_STORE = ["x/a:0.2", "x/a:0.1", "x/a:0.0", "x/b:0.1", "x/b:0.0", "x/b/c:0.0"]
IN_CACHE = ["x/a:0.1", "z/local:1.0"]
ALL = [*IN_STORE, "z/local:1.0"]


@pytest.fixture
async def filled(bench: Bench, daemon: Daemon) -> Daemon:
    """A daemon with some versions in the store, and some in the cache."""
    for spec in reversed(IN_STORE):
        await daemon.push(spec, spec.encode())
    await daemon.fetch("x/a:0.1")
    put(daemon.root, b"local", paths_of("z/local:1.0"), marker=b"")
    bench.store.calls.clear()
    return daemon


async def list_all(daemon: Daemon, **order: Any) -> list[ListEntry]:
    """Walk all pages."""
    entries: list[ListEntry] = []
    token = ""
    while True:
        page = await daemon.assets.list(ListOrder(page_token=token, **order))
        entries += page.entries
        token = page.next_page_token
        if not token:
            return entries


def specs_of(entries: Sequence[ListEntry]) -> list[str]:
    """The versions, in their order."""
    return [str(entry.asset_version) for entry in entries]


# Who is listed


async def test_very_many_assets_and_versions(bench: Bench, daemon: Daemon) -> None:
    """10,000 assets, and one of 10,000 versions: all listed once, no index read thrice."""
    names = [f"many/{number:05}" for number in range(10_000)]
    for name in names:
        await bench.memory.put(f"{name}.versions", encode_index([Version.parse("0.0")]))
    versions = [Version.parse(f"{number // 100}.{number % 100}") for number in range(10_000)]
    await bench.memory.put("one.versions", encode_index(versions))
    listed = specs_of(await list_all(daemon, page_size=1000))
    of_one = [f"one:{version}" for version in newest_first(versions)]
    assert listed == [*(f"{name}:0.0" for name in names), *of_one]
    reads = Counter(key for call, key in bench.store.calls if call == "get")
    assert {count for key, count in reads.items() if key != "one.versions"} <= {1, 2}
    assert reads["one.versions"] <= 12


@pytest.mark.parametrize(
    ("scope", "expected"), [(Scope.ALL, ALL), (Scope.STORE, IN_STORE), (Scope.CACHE, IN_CACHE)]
)
async def test_names_in_order_then_newest_first(
    filled: Daemon, scope: Scope, expected: list[str]
) -> None:
    """Versions are listed by name, then newest first."""
    assert specs_of(await list_all(filled, scope=scope)) == expected


@pytest.mark.parametrize("page_size", range(1, len(ALL) + 2))
@pytest.mark.parametrize("scope", list(Scope))
async def test_pages_walk_everything_once(filled: Daemon, scope: Scope, page_size: int) -> None:
    """Whatever the page size, all pages together are the whole listing, each version once."""
    whole = specs_of(await list_all(filled, scope=scope))
    assert specs_of(await list_all(filled, scope=scope, page_size=page_size)) == whole


@pytest.mark.parametrize("prefix", ["../", "/", "a/../../b", "a//", ".assetd/", "a\0"])
@pytest.mark.parametrize("scope", list(Scope))
async def test_a_prefix_leads_nowhere_else(
    bench: Bench, filled: Daemon, scope: Scope, prefix: str
) -> None:
    """A prefix that no name begins with is refused before anything is listed by it."""
    with pytest.raises(InvalidFieldError) as failure:
        await list_all(filled, scope=scope, name_prefix=prefix)
    assert failure.value.metadata["field"] == "name_prefix"
    assert bench.store.calls == []


@pytest.mark.parametrize("page_size", [1, 2, 100])
@pytest.mark.parametrize("scope", list(Scope))
async def test_only_the_latest(filled: Daemon, scope: Scope, page_size: int) -> None:
    """latest_only tells the newest version of each asset, of what the scope holds."""
    latest = {
        Scope.ALL: ["x/a:0.2", "x/b:0.1", "x/b/c:0.0", "z/local:1.0"],
        Scope.STORE: ["x/a:0.2", "x/b:0.1", "x/b/c:0.0"],
        Scope.CACHE: IN_CACHE,
    }
    found = await list_all(filled, scope=scope, page_size=page_size, latest_only=True)
    assert specs_of(found) == latest[scope]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("x/b", ["x/b:0.1", "x/b:0.0", "x/b/c:0.0"]),
        ("x/b/", ["x/b/c:0.0"]),
        ("z", ["z/local:1.0"]),
        ("x/", IN_STORE),
        ("nothing", []),
    ],
)
async def test_a_prefix_narrows(filled: Daemon, prefix: str, expected: list[str]) -> None:
    """A prefix is of the name's text; it may end anywhere."""
    assert specs_of(await list_all(filled, name_prefix=prefix)) == expected


async def test_numbers_are_ordered_as_numbers(daemon: Daemon) -> None:
    """10.0 is newer than 9.1 in a listing, and over its pages."""
    for version in ("9.1", "10.0", "2.0"):
        await daemon.push(f"x/y:{version}", version.encode())
    for page_size in (1, 2, 9):
        found = specs_of(await list_all(daemon, page_size=page_size))
        assert found == ["x/y:10.0", "x/y:9.1", "x/y:2.0"]


async def test_each_entry_says_where_it_is(filled: Daemon) -> None:
    """in_store and the cache's state are told for each version."""
    entries = {str(e.asset_version): e for e in await list_all(filled)}
    assert [entries[spec].in_store for spec in ALL] == [True] * 6 + [False]
    present = {spec for spec, e in entries.items() if e.cache_state.presence is Presence.PRESENT}
    assert present == set(IN_CACHE)
    assert entries["x/a:0.1"].cache_state.path == str(filled.root / "x/a/0.1")


async def test_the_cache_alone_says_nothing_of_the_store(bench: Bench, filled: Daemon) -> None:
    """Scope CACHE asks nobody, so whether the store has a version is unknown."""
    entries = await list_all(filled, scope=Scope.CACHE, full=True)
    assert [entry.in_store for entry in entries] == [None, None]
    assert entries[0].asset_version.digest == digest_of(b"x/a:0.1")
    assert bench.store.calls == []


# How much is told


async def test_basic_reads_no_manifest(bench: Bench, filled: Daemon) -> None:
    """BASIC reads indexes only; what a manifest would tell stays unknown."""
    entries = await list_all(filled)
    assert bench.store.count("get", ".meta") == 0
    assert {entry.asset_version.kind for entry in entries} == {None}


async def test_full_reads_one_manifest_a_version(bench: Bench, filled: Daemon) -> None:
    """FULL tells kind, size and digest of what the store has, by one manifest each."""
    entries = await list_all(filled, full=True)
    assert bench.store.count("get", ".meta") == len(IN_STORE)
    for entry in entries[: len(IN_STORE)]:
        assert entry.asset_version.kind is AssetKind.FILE
        assert entry.asset_version.digest == digest_of(str(entry.asset_version).encode())
    assert entries[-1].asset_version.kind is AssetKind.FILE


async def test_a_page_reads_its_own_manifests_only(bench: Bench, filled: Daemon) -> None:
    """A page of FULL costs its own versions, not those of the whole store."""
    await filled.assets.list(ListOrder(full=True, page_size=2))
    assert bench.store.count("get", ".meta") == 2


# Without an answer


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("down"), StoreAccessDeniedError("refused")]
)
@pytest.mark.parametrize("call", [1, 3, 5])
async def test_all_names_who_did_not_answer(
    bench: Bench, filled: Daemon, error: AssetError, call: int
) -> None:
    """Scope ALL answers with what could be asked, and names who did not answer.

    Whichever call on the store fails.
    """
    await filled.assets.list(ListOrder())
    operation, key = bench.store.calls[call - 1]
    bench.store.fail(operation, key, error=error)
    page = await filled.assets.list(ListOrder())
    assert specs_of(page.entries) == IN_CACHE
    assert list(page.unreachable) == [Source.STORE]
    assert {entry.in_store for entry in page.entries} == {None}


async def test_all_names_nobody_when_all_answered(filled: Daemon) -> None:
    """Unreachable is empty where everybody was heard."""
    assert list((await filled.assets.list(ListOrder())).unreachable) == []


async def test_the_store_alone_fails_with_it(bench: Bench, filled: Daemon) -> None:
    """Scope STORE fails where the store does, instead of answering with nothing."""
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await filled.assets.list(ListOrder(scope=Scope.STORE))


async def test_without_a_store(bench: Bench) -> None:
    """ALL is the cache, unmarked versions included, and names nobody; STORE is NO_STORE."""
    alone = bench.daemon(with_store=False)
    put(alone.root, b"data", paths_of("x/y:0.1"))
    page = await alone.assets.list(ListOrder(full=True))
    assert specs_of(page.entries) == ["x/y:0.1"]
    assert page.entries[0].in_store is None
    assert list(page.unreachable) == []
    with pytest.raises(NoStoreError):
        await alone.assets.list(ListOrder(scope=Scope.STORE))


async def test_damage_is_told_and_others_can_be_listed(bench: Bench, filled: Daemon) -> None:
    """A damaged index fails a listing that would hold it; a narrower one is answered."""
    await bench.memory.put("x/a.versions", b'{"versions": 7}')
    with pytest.raises(BadIndexError):
        await list_all(filled)
    assert specs_of(await list_all(filled, name_prefix="x/b")) == IN_STORE[3:]


async def test_a_damaged_manifest_fails_full_only(bench: Bench, filled: Daemon) -> None:
    """BASIC does not read what FULL finds damaged."""
    await bench.memory.put("x/a/0.2.meta", b"{")
    assert specs_of(await list_all(filled)) == ALL
    with pytest.raises(BadManifestError):
        await list_all(filled, full=True)


async def test_keys_outside_the_grammar_are_skipped(bench: Bench, filled: Daemon) -> None:
    """What names no asset is nobody's version."""
    for key in (
        "..versions",
        "x/-.versions",
        "x/a/notes.txt",
        "x/a/0.9/part.versions",
        ".versions",
    ):
        await bench.memory.put(key, b"{}")
    assert specs_of(await list_all(filled)) == ALL


async def test_the_disk_is_walked_off_the_loop(filled: Daemon) -> None:
    """No call of the file system is made on the event loop's thread."""
    loop_thread_calls = []

    def note() -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        loop_thread_calls.append("list_names")

    for number in range(1, 10):
        filled.fs.before("list_names", note, number)
    await list_all(filled)
    assert loop_thread_calls == []


# Tokens


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!!",
        "e30=",
        "W10=",
        base64.urlsafe_b64encode(b'["f", "x/a", "0.1"]').decode(),
        base64.urlsafe_b64encode(b"[" * 2000).decode(),
        "A" * 20000,
    ],
)
async def test_garbage_is_no_token(filled: Daemon, token: str) -> None:
    """What no page made is INVALID_PAGE_TOKEN, for both listings."""
    with pytest.raises(InvalidPageTokenError):
        await filled.assets.list(ListOrder(page_token=token))
    with pytest.raises(InvalidPageTokenError):
        await filled.assets.list_files(ListFilesOrder(Spec.parse("x/a"), page_token=token))


@pytest.mark.parametrize(
    "other",
    [
        {"name_prefix": "x"},
        {"scope": Scope.STORE},
        {"latest_only": True},
        {"full": True},
    ],
)
async def test_a_token_is_for_its_own_arguments(filled: Daemon, other: dict[str, Any]) -> None:
    """A token goes on with its own listing and no other; only the page size may change."""
    token = (await filled.assets.list(ListOrder(page_size=2))).next_page_token
    with pytest.raises(InvalidPageTokenError):
        await filled.assets.list(ListOrder(page_token=token, **other))
    page = await filled.assets.list(ListOrder(page_token=token, page_size=3))
    assert specs_of(page.entries) == ALL[2:5]


@pytest.mark.parametrize("after", [["x/a", "no version"], ["x/a", ""], ["x/a", "1"]])
async def test_a_forged_token_is_refused(filled: Daemon, after: list[str]) -> None:
    """A token with our mark but nonsense inside is refused as well."""
    token = (await filled.assets.list(ListOrder(page_size=2))).next_page_token
    mark = json.loads(base64.urlsafe_b64decode(token))[0]
    forged = base64.urlsafe_b64encode(json.dumps([mark, *after]).encode()).decode()
    with pytest.raises(InvalidPageTokenError):
        await filled.assets.list(ListOrder(page_token=forged))


async def test_what_is_pushed_between_pages_shifts_nothing(filled: Daemon) -> None:
    """A page goes on where the last one ended, whatever was pushed before that place."""
    first = await filled.assets.list(ListOrder(page_size=2))
    await filled.push("x/a", b"newer")
    await filled.push("w/new", b"new")
    order = ListOrder(page_token=first.next_page_token)
    assert specs_of((await filled.assets.list(order)).entries) == ALL[2:]


async def test_long_pages_are_cut(bench: Bench, daemon: Daemon) -> None:
    """A page ends before it comes near what one message may hold; the next goes on."""
    index = json.dumps({"versions": [f"0.{n}" for n in range(4000)]}).encode()
    await bench.memory.put("x/y.versions", index)
    page = await daemon.assets.list(ListOrder(page_size=4000))
    assert 1000 < len(page.entries) < 4000
    assert page.next_page_token
    assert len(await list_all(daemon, page_size=4000)) == 4000


@pytest.mark.parametrize(
    ("name", "labels", "count"),
    [
        ("x/y", {chr(0x1F300 + n): "\U0001f600" * 512 for n in range(64)}, 34),
        ("x/y", {f"{n}": "" for n in range(64)}, 2000),
        ("/".join(["n" * 250] * 4), {}, 4000),
    ],
    ids=["long labels", "many labels", "long name"],
)
async def test_pages_are_cut_by_bytes(
    bench: Bench, daemon: Daemon, name: str, labels: dict[str, str], count: int
) -> None:
    """No page is larger than its limit and one entry, whatever the pushers wrote on versions.

    As it is on the wire, where a character may be four bytes.
    """
    manifest = replace(manifest_of(b"data"), labels=labels)
    index = json.dumps({"versions": [f"0.{n}" for n in range(count)]}).encode()
    await bench.memory.put(f"{name}.versions", index)
    for n in range(count):
        await bench.memory.put(f"{name}/0.{n}.meta", encode_manifest(manifest))
    order = ListOrder(page_size=4000, scope=Scope.STORE, full=True)
    entry = list_response(await daemon.assets.list(replace(order, page_size=1))).ByteSize()
    found = 0
    while True:
        page = await daemon.assets.list(order)
        assert list_response(page).ByteSize() <= 2**20 + entry
        found += len(page.entries)
        if not page.next_page_token:
            break
        order = replace(order, page_token=page.next_page_token)
    assert found == count


# ListFiles


async def files(daemon: Daemon, spec: str = "x/d", **order: Any) -> FilesPage:
    """One page of a version's files."""
    return await daemon.assets.list_files(ListFilesOrder(Spec.parse(spec), **order))


def paths_in(page: FilesPage) -> list[str]:
    """The paths, in their order."""
    return [file.part.path for file in page.files]


@pytest.fixture
async def tree(daemon: Daemon) -> Daemon:
    """A daemon whose store holds a directory asset."""
    await daemon.push("x/d", TREE)
    return daemon


async def test_files_in_bytewise_order(tree: Daemon) -> None:
    """All files of a version, with sizes and digests, and whether the cache has them."""
    page = await files(tree)
    assert paths_in(page) == sorted(TREE, key=str.encode)
    assert [file.part.size_bytes for file in page.files] == [
        len(TREE[path]) for path in paths_in(page)
    ]
    assert {file.cached for file in page.files} == {False}
    assert page.asset_version.digest == digest_of(TREE)
    await tree.fetch("x/d")
    assert {file.cached for file in (await files(tree)).files} == {True}


@pytest.mark.parametrize("page_size", range(1, len(TREE) + 2))
async def test_pages_of_files(tree: Daemon, page_size: int) -> None:
    """Pages walk all files once, of the version that the first page meant."""
    found, token = [], ""
    while True:
        page = await files(tree, page_size=page_size, page_token=token)
        found += paths_in(page)
        assert str(page.asset_version) == "x/d:0.0"
        if len(found) == page_size:
            await tree.push("x/d", {"other": b""})
        if not (token := page.next_page_token):
            break
    assert found == sorted(TREE, key=str.encode)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*"], [], [".dot", "a", "b0", "z"]),
        (["**"], [], [".dot", "a", "b/c", "b/d/e", "b0", "z"]),
        (["b/*"], [], ["b/c"]),
        (["b/**"], [], ["b/c", "b/d/e"]),
        (["**/e", "z"], [], ["b/d/e", "z"]),
        (["?"], [], ["a", "z"]),
        ([], ["b/**"], [".dot", "a", "b0", "z"]),
        (["**"], ["*"], ["b/c", "b/d/e"]),
        (["nothing"], [], []),
    ],
)
async def test_globs(
    tree: Daemon, include: list[str], exclude: list[str], expected: list[str]
) -> None:
    """`*` stops at a slash, `**` crosses it; excludes win."""
    assert paths_in(await files(tree, include=include, exclude=exclude)) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [("b", ["b/c", "b/d/e"]), ("b/d", ["b/d/e"]), ("a", ["a"]), ("b0", ["b0"])],
)
async def test_a_part_narrows(tree: Daemon, part: str, expected: list[str]) -> None:
    """`[part]` lists that file, or what lies in that folder."""
    assert paths_in(await files(tree, f"x/d[{part}]")) == expected


async def test_a_file_asset_has_one_file(daemon: Daemon) -> None:
    """A file asset's only file has the empty path, and globs are matched with that."""
    await daemon.push("x/y", b"data")
    page = await files(daemon, "x/y")
    assert paths_in(page) == [""]
    assert page.files[0].part.size_bytes == 4
    assert paths_in(await files(daemon, "x/y", include=["a"])) == []
    with pytest.raises(PartNotFoundError):
        await files(daemon, "x/y[a]")


async def test_what_listing_files_refuses(tree: Daemon) -> None:
    """What is asked wrongly, or is not there, is named."""
    with pytest.raises(PartNotFoundError):
        await files(tree, "x/d[nope]")
    with pytest.raises(AssetNotFoundError):
        await files(tree, "x/q")
    with pytest.raises(VersionNotFoundError):
        await files(tree, "x/d:9.9")
    for globs in ([""], ["a" * 2000], ["a"] * 101):
        with pytest.raises(InvalidFieldError):
            await files(tree, include=globs)
        with pytest.raises(InvalidFieldError):
            await files(tree, exclude=globs)
    with pytest.raises(NotCachedError):
        await files(tree, "x/d:0.0", freshness=Freshness.CACHE)


async def test_a_cached_version_is_listed_without_the_store(bench: Bench, tree: Daemon) -> None:
    """Files of a pinned version that is present need no store call."""
    await tree.fetch("x/d")
    bench.store.calls.clear()
    bench.store.go_down()
    assert len((await files(tree, "x/d:0.0")).files) == len(TREE)
    assert bench.store.calls == []


async def test_what_modelkit_left_is_listed_as_it_stands(bench: Bench, tree: Daemon) -> None:
    """Without a receipt and without the store the files on the disk are what is listed."""
    put(tree.root, TREE, paths_of("x/d:0.0"), marker=b"")
    bench.store.calls.clear()
    page = await files(tree, "x/d:0.0", freshness=Freshness.CACHE)
    assert paths_in(page) == sorted(TREE, key=str.encode)
    assert [file.part.size_bytes for file in page.files] == [
        0 + len(TREE[p]) for p in paths_in(page)
    ]
    assert bench.store.calls == []


async def test_further_pages_need_no_store(bench: Bench, tree: Daemon) -> None:
    """What an open spec stands for is asked for the first page, and never again."""
    await tree.fetch("x/d")
    first = await files(tree, page_size=2)
    bench.store.go_down()
    page = await files(tree, page_token=first.next_page_token)
    assert paths_in(first) + paths_in(page) == sorted(TREE, key=str.encode)


async def test_a_plain_path_has_no_files(bench: Bench) -> None:
    """A path that is no asset has no version, so no files."""
    alone = bench.daemon(with_store=False)
    (alone.root / "some/folder").mkdir(parents=True)
    with pytest.raises(AssetNotFoundError):
        await files(alone, "some/folder")


@pytest.mark.parametrize(
    "other", [{"include": ["a"]}, {"exclude": ["a"]}, {"freshness": Freshness.STORE}]
)
async def test_a_token_of_files_is_for_its_own_arguments(
    tree: Daemon, other: dict[str, Any]
) -> None:
    """A token of one listing of files fits no other."""
    token = (await files(tree, page_size=2)).next_page_token
    with pytest.raises(InvalidPageTokenError):
        await files(tree, page_token=token, **other)
    with pytest.raises(InvalidPageTokenError):
        await files(tree, "x/d:0.0", page_token=token)

"""Names and parts, by any text at all: refused, or a path that stays where it belongs."""

import os.path

from assetd_server.cache.layout import VersionPaths
from assetd_server.errors import InvalidNameError, InvalidPartError
from assetd_server.model import (
    MARKER_NAME,
    AssetKind,
    AssetName,
    PartPath,
    require_distinct_parts,
)
from assetd_server.spec import Spec
from assetd_server.versioning import Version
from hypothesis import given, settings
from hypothesis import strategies as st

# Letters, and what could make a path leave its folder.
SIGNS = st.sampled_from([*"ab01/.._-", "\\", "..", "//", "/..", "\0", "\n", ":", "[", "]", "é"])
TEXTS = st.one_of(st.text(max_size=40), st.lists(SIGNS, max_size=12).map("".join))
VERSION = Version.parse("0.1")


def climbs(path: str) -> bool:
    """Whether a path, joined to a root, would be anything but a plain path below it."""
    joined = os.path.normpath(os.path.join("/root", path))  # noqa: PTH118 - as C would read it
    return joined != f"/root/{path}" or not joined.startswith("/root/")


@settings(max_examples=300)
@given(TEXTS)
def test_a_name_is_refused_or_stays_below_the_root(text: str) -> None:
    """Every path that is built from it is plain, ASCII, and none of our own folders."""
    try:
        name = AssetName(text)
    except InvalidNameError:
        return
    paths = VersionPaths(name, VERSION)
    lock = paths.modelkit_lock or paths.folder
    for path in (paths.folder, paths.data, paths.marker(AssetKind.FILE), lock):
        assert not climbs(path)
        assert path.isascii()
        assert path.isprintable()
    assert not paths.data.startswith(".")
    assert Spec.parse(text).name == name


@settings(max_examples=300)
@given(TEXTS)
def test_a_part_is_refused_or_stays_below_its_version(text: str) -> None:
    """It neither climbs nor is the marker, and can be said on any wire."""
    try:
        part = PartPath(text)
    except InvalidPartError:
        return
    paths = VersionPaths(AssetName("some/asset"), VERSION)
    assert not climbs(paths.part(part))
    assert paths.part(part).startswith(paths.data + "/")
    assert MARKER_NAME not in part.segments
    assert part.encode().decode() == part


@settings(max_examples=200)
@given(TEXTS)
def test_what_can_be_pushed_can_be_fetched(text: str) -> None:
    """And none of its folders is taken for a version, an index, a lock or a marker."""
    try:
        name = AssetName(text)
        name.require_pushable()
    except InvalidNameError:
        return
    assert Spec.parse(f"{name}:0.1") == Spec(name).pinned_to(VERSION)
    for segment in name.segments:
        assert not segment.endswith((".versions", ".meta", ".lock", ".SUCCESS"))
        assert not segment.isdigit()


@settings(max_examples=200)
@given(st.lists(st.lists(st.sampled_from("ab."), min_size=1, max_size=4), max_size=6))
def test_distinct_parts_can_be_made_into_a_folder(paths: list[list[str]]) -> None:
    """Accepted or refused exactly as a file system would."""
    texts = ["/".join(segments) for segments in paths]
    try:
        parts = [PartPath(text) for text in texts]
    except InvalidPartError:
        return
    folders = {"/".join(t.split("/")[:n]) for t in texts for n in range(1, t.count("/") + 1)}
    fits = len(set(texts)) == len(texts) and not folders & set(texts)
    try:
        require_distinct_parts(parts)
    except InvalidPartError:
        assert not fits
    else:
        assert fits

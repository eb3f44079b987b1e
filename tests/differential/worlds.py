"""A store and an ASSETS_DIR, both parties at them, and what anybody can see of both.

Also what an operator does to an ASSETS_DIR by hand. Knows nothing of what may differ.
"""

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assetd_server.store.base import KeyNotFoundError, ObjectStore

from tests.differential.histories import Action, Party, Step
from tests.differential.parties import (
    AssetdParty,
    ModelkitParty,
    Place,
)
from tests.support.modelkit import Modelkit
from tests.support.trees import MARKER, Tree, read_tree, write_tree

_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Storage:
    """One empty store: how modelkit is told of it, and how assetd opens it."""

    variables: Mapping[str, str]
    open: Callable[[], ObjectStore]


class World:
    """One store and one ASSETS_DIR, and both parties at them."""

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        system: str,
        modelkit: Modelkit,
        runner: asyncio.Runner,
    ) -> None:
        """Make the folders, and let the parties in."""
        self._runner = runner
        self._reader = storage.open()
        self.place = Place(folder / "assets", folder.parent / "here", folder / "scratch")
        self.place.assets_dir.mkdir(parents=True)
        variables = {**storage.variables, "MODELKIT_ASSETS_VERSIONING_SYSTEM": system}
        self.modelkit = ModelkitParty(modelkit, self.place, variables)
        self.assetd = AssetdParty(runner, self.place, storage.open, system)

    def party(self, party: Party) -> ModelkitParty | AssetdParty:
        """Return one of the two."""
        return self.modelkit if party is Party.MODELKIT else self.assetd

    def end(self) -> None:
        """Let assetd end as it should."""
        self.assetd.end()
        self._runner.run(self._reader.close())

    def place_by_hand(self, step: Step, name: str) -> None:
        """Do what the step says as an operator does: place, unmark or drop a version."""
        data = self.place.assets_dir / name / step.version
        if step.action is not Action.UNMARK:
            _remove(data)
        _unmark(data)
        if step.action is Action.PLACE:
            assert step.content is not None
            data.parent.mkdir(parents=True, exist_ok=True)
            if step.content.is_directory:
                write_tree(data, step.content.tree)
            else:
                data.write_bytes(step.content.tree[""])
            if step.marked:
                _markers(data)[0 if data.is_dir() else 1].touch()

    def empty_cache(self, name: str) -> None:
        """Remove the versions of the asset from the cache, as an operator does."""
        folder = self.place.assets_dir / name
        for version in self.cached(name):
            _remove(folder / version)
            _unmark(folder / version)
        # Whoever asks without a store is told of folders too.
        with suppress(OSError):
            while folder != self.place.assets_dir:
                folder.rmdir()
                folder = folder.parent

    def cached(self, name: str) -> dict[str, tuple[bool, Tree]]:
        """Return what stands in the cache of each version, and whether it is marked."""
        folder = self.place.assets_dir / name
        found: dict[str, tuple[bool, Tree]] = {}
        with suppress(OSError, ValueError):
            for data in sorted(folder.iterdir()):
                # A version, and no asset whose folder lies in this one's.
                if data.name[:1].isdigit():
                    marked = any(marker.exists() for marker in _markers(data))
                    found[data.name] = (marked, read_tree(data))
        return found

    def versions(self, name: str) -> dict[str, object]:
        """Return all that the store holds of an asset's versions."""
        index = self.document(f"{name}.versions") or {"versions": []}
        return {version: self.stored(name, version) for version in index["versions"]}

    def stored(self, name: str, version: str) -> dict[str, bytes] | None:
        """Return what the store holds of a version that its manifest names."""
        meta = self.document(f"{name}/{version}.meta")
        if meta is None:
            return None
        parts = meta["contents"] if meta["is_directory"] else [""]
        keys = {part: f"{name}/{version}/{part}".rstrip("/") for part in parts}
        return {part: self.object(key) or b"" for part, key in keys.items()}

    def document(self, key: str) -> dict[str, Any] | None:
        """Return a JSON document of the store."""
        data = self.object(key)
        return None if data is None else dict(json.loads(data))

    def object(self, key: str) -> bytes | None:
        """Return an object of the store."""
        try:
            return self._runner.run(self._reader.get(key, _MAX_BYTES))[1]
        except (KeyNotFoundError, ValueError):
            # ValueError: a key that only modelkit makes.
            return None

    def all_keys(self) -> list[str]:
        """Return all keys that modelkit would see."""

        async def keys() -> list[str]:
            pages = [page async for page in self._reader.list("")]
            return [info.key for page in pages for info in page.objects]

        return sorted(k for k in self._runner.run(keys()) if not k.startswith(".assetd/"))


def _markers(data: Path) -> tuple[Path, Path]:
    """Return where the marker of a folder, and where that of a file stands."""
    return data / MARKER, data.with_name(f".{data.name}{MARKER}")


def _unmark(data: Path) -> None:
    for marker in _markers(data):
        # What stands there may be a file.
        with suppress(FileNotFoundError, NotADirectoryError):
            marker.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

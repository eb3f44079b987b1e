"""modelkit and assetd, each on a store and an ASSETS_DIR, told to do the steps of a history.

Both answer with an `Outcome`, so that what they did can be compared. modelkit is the real one, in
its own process; assetd is everything behind its wire, in this one, with a clock that says what the
history says. Knows how both are called, and nothing of what may differ.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from assetd import AssetdError
from assetd._source import list_source
from assetd_server.assets.orders import (
    Bump,
    FetchCompleted,
    ListOrder,
    PushCompleted,
    PushMode,
    ResolveOrder,
    Scope,
)
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import AssetError
from assetd_server.spec import Spec
from assetd_server.store.base import ObjectStore
from assetd_server.versioning import VersioningSystem

from tests.differential.histories import ALONE, FOLDER, PUSHES, Action, Step
from tests.support.assets_bench import Bench, Daemon
from tests.support.clocks import ManualClock
from tests.support.modelkit import Modelkit, ModelkitError
from tests.support.trees import read_tree
from tests.support.versions import Content as Bytes

T = TypeVar("T")

BEGINNING: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

# What went wrong, in words that both libraries share.
OK: Final = "ok"
INVALID: Final = "invalid"
ABSENT: Final = "absent"
EXISTS: Final = "exists"
REFUSED: Final = "refused"
CRASHED: Final = "crashed"

_CLASSES: Final = {
    # modelkit's
    "InvalidAssetSpecError": INVALID,
    "InvalidNameError": INVALID,
    "InvalidVersionError": INVALID,
    "InvalidMajorVersionError": INVALID,
    "MajorVersionDoesNotExistError": ABSENT,
    "AssetDoesNotExistError": ABSENT,
    "ObjectDoesNotExistError": ABSENT,
    "LocalAssetDoesNotExistError": ABSENT,
    # A version without its part, and a version that was empty.
    "AssetFetchError": ABSENT,
    "AssetAlreadyExistsError": EXISTS,
    "StorageDriverError": REFUSED,
    # assetd's
    "InvalidPartError": INVALID,
    "InvalidSpecError": INVALID,
    "AssetNotFoundError": ABSENT,
    "VersionNotFoundError": ABSENT,
    "PartNotFoundError": ABSENT,
    "AssetExistsError": EXISTS,
    "VersionExistsError": EXISTS,
    "NoStoreError": REFUSED,
    "UnsupportedFileError": REFUSED,
    "MixedVersioningError": REFUSED,
}


@dataclass(frozen=True)
class Outcome:
    """How a step ended: well, with a version, a path and its bytes, or in what went wrong."""

    kind: str
    version: str = ""
    # Below ASSETS_DIR where it is in there.
    path: str = ""
    tree: Mapping[str, bytes] | None = None
    # For people only: two libraries have their own words.
    told: str = ""

    @property
    def compared(self) -> tuple[object, ...]:
        """What has to be equal."""
        return (self.kind, self.version, self.path, self.tree)

    def __str__(self) -> str:
        parts = sorted(f"{path or '.'} ({len(data)})" for path, data in (self.tree or {}).items())
        told = f" [{self.told}]" if self.told else ""
        return " ".join([self.kind, self.version, self.path, *parts]) + told


def _failure(error: Exception, name: str) -> Outcome:
    return Outcome(_CLASSES.get(name, CRASHED), told=f"{name}: {error}")


@dataclass(frozen=True)
class Place:
    """Where a party works: the ASSETS_DIR, and folders for what it is to push and to resolve in."""

    assets_dir: Path
    working_folder: Path
    scratch: Path


class ModelkitParty:
    """modelkit with a store and an ASSETS_DIR."""

    def __init__(self, modelkit: Modelkit, place: Place, variables: Mapping[str, str]) -> None:
        """Keep whom to tell, and all that modelkit is configured by."""
        self._modelkit = modelkit
        self._place = place
        self._variables = variables
        without = {k: v for k, v in variables.items() if not k.startswith("MODELKIT_STORAGE")}
        self._variables_alone = without

    def take(self, step: Step, name: str, source: Path | None, now: datetime) -> Outcome:
        """Do what the step says, with an asset that is called `name`."""
        try:
            if step.action in PUSHES:
                assert source is not None
                return Outcome(OK, self._push(step, name, source, now))
            return self._fetch(step, name)
        except ModelkitError as error:
            return _failure(error, error.kind)

    def _push(self, step: Step, name: str, source: Path, now: datetime) -> str:
        if step.action in {Action.NEW_EXACT, Action.EXACT}:
            new = step.action is Action.NEW_EXACT
            self._modelkit.push(source, name, step.version, self._variables, new=new)
            return step.version
        return self._modelkit.push_as_command(
            source,
            name + step.suffix,
            self._variables,
            new=step.action is Action.NEW,
            bump_major=step.action is Action.BUMP_MAJOR,
            now=now.strftime("%Y-%m-%dT%H-%M-%SZ"),
        )

    def _fetch(self, step: Step, name: str) -> Outcome:
        place = self._place
        alone = step.action in ALONE
        # modelkit cannot resolve without fetching: here nobody sees that it does.
        resolves = step.action is Action.RESOLVE
        if resolves and place.scratch.exists():
            shutil.rmtree(place.scratch)
        fetched = self._modelkit.fetch(
            name.replace(FOLDER, str(place.working_folder)) + step.suffix,
            place.scratch if resolves else place.assets_dir,
            self._variables_alone if alone else self._variables,
            force=step.action in {Action.FORCE, Action.FORCE_ALONE},
            folder=place.working_folder,
        )
        return (
            Outcome(OK, fetched.version)
            if resolves
            else found_at(fetched.path, fetched.version, place)
        )

    def listed(self, name: str) -> list[str]:
        """Return the versions that the index lists, in its order."""
        try:
            return self._modelkit.versions(name, self._variables)
        except ModelkitError:
            return []


class HistoryClock(ManualClock):
    """Says what the history says; whoever sleeps wakes at once, at the same moment."""

    async def sleep(self, seconds: float) -> None:
        self._seconds += seconds
        await asyncio.sleep(0)

    def set(self, now: datetime) -> None:
        """Let the time of the next step come."""
        self.jump((now - self.now()).total_seconds())


class AssetdParty:
    """assetd with a store and an ASSETS_DIR; restarted without the store where a step says so."""

    def __init__(
        self,
        runner: asyncio.Runner,
        place: Place,
        open_store: Callable[[], ObjectStore],
        system: str,
    ) -> None:
        """Start a daemon, without its wire."""
        self._runner = runner
        self._place = place
        self._open_store = open_store
        self._settings = AssetsSettings(
            versioning=VersioningSystem(system), connection_count=4, lock_timeout_seconds=5.0
        )
        self._clock = HistoryClock(BEGINNING)
        self._bench = Bench(place.scratch)
        self._has_store = True
        self._daemon = self._start()

    def _start(self) -> Daemon:
        daemon = self._bench.daemon(
            self._settings,
            with_store=self._has_store,
            store=self._open_store() if self._has_store else None,
            clock=self._clock,
            root=self._place.assets_dir,
        )
        self._run(daemon.assets.load)
        return daemon

    def _run(self, what: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await what()

        return self._runner.run(run())

    def end(self) -> None:
        """End the daemon, which has to have nothing left to do."""
        self._run(self._daemon.require_idle)
        self._run(self._bench.close)

    def _restart(self, *, with_store: bool) -> None:
        if with_store == self._has_store:
            return
        self.end()
        self._has_store = with_store
        self._daemon = self._start()

    def take(self, step: Step, name: str, source: Path | None, now: datetime) -> Outcome:
        """Do what the step says, with an asset that is called `name`."""
        self._clock.set(now)
        self._restart(with_store=step.action not in ALONE)
        spec = name.replace(FOLDER, str(self._place.working_folder)) + step.suffix
        try:
            if step.action in PUSHES:
                assert source is not None
                return self._push(step, spec, source)
            if step.action is Action.RESOLVE:
                order = ResolveOrder(Spec.parse(spec))
                resolved = self._run(lambda: self._daemon.assets.resolve(order))
                return Outcome(OK, str(resolved.asset_version.version or ""))
            return self._fetch(step, spec)
        except (AssetError, AssetdError) as error:
            return _failure(error, type(error).__name__)

    def _push(self, step: Step, spec: str, source: Path) -> Outcome:
        modes = {Action.NEW: PushMode.NEW, Action.NEW_EXACT: PushMode.NEW}
        content = _read_as_the_client_does(source)
        pushed: PushCompleted = self._run(
            lambda: self._daemon.push(
                spec,
                content,
                mode=modes.get(step.action, PushMode.UPDATE),
                bump=Bump.MAJOR if step.action is Action.BUMP_MAJOR else None,
            )
        )
        return Outcome(OK, str(pushed.asset_version.version))

    def _fetch(self, step: Step, spec: str) -> Outcome:
        force = step.action in {Action.FORCE, Action.FORCE_ALONE}
        fetched: FetchCompleted = self._run(
            lambda: self._daemon.fetched(spec, force_download=force)
        )
        version = str(fetched.asset_version.version or "")
        return found_at(Path(fetched.path), version, self._place)

    def listed(self, name: str) -> list[str]:
        """Return the versions that the store has, in the order of the listing."""
        self._restart(with_store=True)
        order = ListOrder(name_prefix=name, scope=Scope.STORE, page_size=1000)
        page = self._run(lambda: self._daemon.assets.list(order))
        versions = (entry.asset_version for entry in page.entries)
        return [str(one.version) for one in versions if one.name == name]


def found_at(path: Path, version: str, place: Place) -> Outcome:
    """Return what stands where a fetch says that it does; of what is no asset only the place."""
    shown = path.relative_to(place.assets_dir) if path.is_relative_to(place.assets_dir) else path
    return Outcome(OK, version, str(shown), read_tree(path) if version else None)


def _read_as_the_client_does(source: Path) -> Bytes:
    listed = list_source(source)
    content = {file.path: b"".join(listed.read(file)) for file in listed.files}
    return content if listed.is_directory else content[""]

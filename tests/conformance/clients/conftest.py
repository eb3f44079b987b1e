"""The store, the daemons and the runners that scenarios share.

They end with the scenarios: the store's proxy lives in this process, and would answer the daemon's
looks at its store, over new sockets, in the middle of tests that look for descriptors left open.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients.python.scripted import ScriptedDaemon
from tests.conformance.clients.runners import Language, Runner
from tests.conformance.clients.worlds import Store, World, running_store, running_world
from tests.conftest import IN_CI
from tests.support.daemon import daemons, running_daemons

__all__ = ["daemons"]


class Runners:
    """Starts a runner for each language and address, once, and ends it after the last scenario."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: dict[tuple[str, str], Runner] = {}
        self._count = 0

    def shared(self, language: Language, address: str) -> Runner:
        """Return the runner that talks to that daemon."""
        key = (language.name, address)
        if key not in self._all:
            self._all[key] = self.start(language, {"ASSETD_ADDRESS": address})
        return self._all[key]

    def start(self, language: Language, variables: dict[str, str]) -> Runner:
        """Return a new one, which its user ends."""
        if language.built is not None and not language.built.exists():
            missing = f"the runner of {language.name} is not built: make runners"
            pytest.fail(missing) if IN_CI else pytest.skip(missing)
        self._count += 1
        log = self._folder / f"{language.name}-{self._count}.log"
        runner = Runner(language, variables, log)
        told = {"language": language.name, "fast_path": language.has_fast_path}
        assert runner.ready == told
        return runner

    def close(self) -> None:
        """End all, each of which has to end well."""
        codes = {name: runner.close() for name, runner in self._all.items()}
        assert not any(codes.values()), f"runners ended with {codes}"


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runners]:
    """The runners of all languages."""
    runners = Runners(tmp_path_factory.mktemp("runners"))
    yield runners
    runners.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real S3 server that can be told to misbehave."""
    with running_store(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[World]:
    """The one daemon of most scenarios."""
    with ExitStack() as stack:
        started = stack.enter_context(running_daemons(tmp_path_factory.mktemp("world")))
        yield stack.enter_context(running_world(store, started))


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedDaemon]:
    """The daemon that answers what a scenario says."""
    with tempfile.TemporaryDirectory(prefix="assetd-") as folder:
        daemon = ScriptedDaemon(Path(folder, "assetd.sock"))
        daemon.start()
        yield daemon
        daemon.stop()

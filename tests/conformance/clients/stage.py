"""One scenario played by one language: its steps, done in turn and compared."""

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from assetd import Client
from assetd.v1.cache_service_pb2 import GetCacheStatusResponse

from tests.clients.python.scripted import ScriptedDaemon
from tests.conformance.clients import scripts, trees
from tests.conformance.clients.expectations import assert_like, assert_progress
from tests.conformance.clients.runners import Action, Runner
from tests.conformance.clients.scenarios import Fields, Scenario, filled
from tests.conformance.clients.worlds import World
from tests.support.waiting import wait_until

# Where in a scenario's folder its sources lie.
SOURCES: Final = "sources"
# What of a step is the suite's; all else is the request.
_OURS: Final = ("id", "wait", "answer", "error", "entries", "progress", "lost", "tree", "forbid")


class Stage:
    """Plays one scenario.

    What may be given is a `_give_` method, and what may happen around the runner a `_world_` one;
    README has the words, and the holes of a scenario's texts, each of them a `_find_` method.
    """

    def __init__(
        self,
        scenario: Scenario,
        runner: Runner,
        folder: Path,
        *,
        world: World | None = None,
        scripted: ScriptedDaemon | None = None,
    ) -> None:
        self._scenario = scenario
        self._runner = runner
        self._folder = folder
        self._world = world
        self._scripted = scripted
        self._here = f"{runner.language.name}/{scenario.slug}"
        self._actions: dict[str, Action] = {}
        self._uuids: dict[str, str] = {}
        self._stack = ExitStack()
        self._cut_at = 0.0

    def play(self) -> None:
        """Do all of it; the first thing that is not as expected fails."""
        with self._stack:
            if self._scripted is not None and self._scenario.script is not None:
                scripts.rehearse(self._scripted, filled(self._scenario.script, self._find))
            for fact in self._scenario.given:
                self._give(filled(fact, self._find))
            for step in self._scenario.steps:
                # One by one: a step may name what the one before has answered.
                self._do(filled(step, self._find))

    @property
    def world(self) -> World:
        """The real one; a scenario of a made-up daemon has none."""
        assert self._world is not None, "there is no real daemon in this scenario"
        return self._world

    @cached_property
    def _client(self) -> Client:
        return self._stack.enter_context(self.world.client())

    # What is given

    def _give(self, fact: Fields) -> None:
        """Make it so; the first field names what it is, and all of them its arguments."""
        getattr(self, f"_give_{next(iter(fact))}")(**fact)

    def _give_pushed(self, pushed: str, tree: str) -> None:
        self._client.push(self._source(tree), pushed)

    def _give_cached(self, cached: str) -> None:
        self._client.fetch(cached)

    def _give_object(self, object: str, text: str) -> None:  # noqa: A002 - the scenario's word
        self.world.store.put(self.world.prefix + object, text.encode())

    def _give_damaged(self, damaged: str) -> None:
        key = self.world.prefix + damaged
        data = self.world.store.get(key)
        self.world.store.put(key, bytes([data[0] ^ 1]) + data[1:])

    def _give_held_reads(self, held_reads: str) -> None:
        self.world.store.hold_reads(held_reads)

    def _give_held_writes(self, held_writes: str) -> None:
        self.world.store.hold_writes(held_writes)

    def _give_refused(self, refused: str, status: int, code: str) -> None:
        self.world.store.refuse(refused, status, code)

    def _give_written(self, written: str, tree: str) -> None:
        trees.write(trees.TREES[tree], self._folder / written)

    def _give_staged(self, staged: str, tree: str) -> None:
        folder = self.world.daemon.assets_dir / ".assetd/push"
        trees.write(trees.TREES[tree], folder / staged)
        # The daemon leaves it alone, as what was put there by others.
        self._stack.callback(shutil.rmtree, folder / Path(staged).parts[0], ignore_errors=True)

    def _give_linked(self, linked: str, to: str) -> None:
        (self._folder / linked).symlink_to(to)

    def _give_empty_folder(self, empty_folder: str) -> None:
        (self._folder / empty_folder).mkdir()

    # What is done

    def _do(self, step: Fields) -> None:
        if "world" in step:
            what = dict(step)
            getattr(self, f"_world_{what.pop('world')}")(**what)
        elif step["do"] in ("cancel", "release"):
            self._runner.say({"do": step["do"], "of": self._id(step["of"])})
        elif step["do"] == "await":
            self._finish(step["of"], step)
        else:
            self._begin(step)

    def _begin(self, step: Fields) -> None:
        name = step.get("id", f"step{len(self._actions)}")
        request = {key: value for key, value in step.items() if key not in _OURS}
        action = self._runner.begin(request | {"id": self._id(name)})
        self._actions[name] = action
        match step.get("wait", "end"):
            case "end":
                self._finish(name, step)
            case "progress":
                self._runner.wait(lambda: bool(action.progress or action.has_ended), "progress")
                assert not action.has_ended, f"it ended: {action}"
            case "held":
                store = self.world.store
                wait_until(lambda: store.holds_one, "a request that the store holds")
            case "no":
                pass
            case other:
                raise ValueError(f"there is no such wait: {other}")

    def _finish(self, name: str, wanted: Fields) -> None:
        action = self._actions[name]
        if "lost" in wanted:
            self._runner.wait(lambda: action.lost is not None, f"the loss of {name}")
            assert_like(action.lost, wanted["lost"], "what was lost")
            return
        if "error" in wanted and action.answer is not None:
            # A hold that answered, and is cancelled.
            self._runner.wait(lambda: action.error is not None, f"the error of {name}")
        self._runner.wait(lambda: action.has_ended, f"the end of {name}")
        if "error" in wanted:
            assert action.error is not None, f"it succeeded: {action.answer}"
            assert_like(action.error, wanted["error"], "the error")
        else:
            assert action.error is None, f"it failed: {action.error}"
            assert_like(action.answer, wanted.get("answer", {}), "the answer")
        if "entries" in wanted:
            assert_like(action.entries, wanted["entries"], "the entries")
        assert_progress(action.progress, wanted.get("progress", {}))
        if "tree" in wanted:
            assert action.answer is not None
            assert trees.read(Path(action.answer["path"])) == trees.TREES[wanted["tree"]]
        for text in wanted.get("forbid", ()):
            assert text not in repr((action.answer, action.error)), f"{text} is told"

    def _id(self, name: str) -> str:
        # A runner serves many scenarios: an answer that comes late is nobody else's.
        return f"{self._here}/{name}"

    # What happens around the runner

    def _world_let_go(self) -> None:
        self.world.store.let_go()

    def _world_calm_down(self) -> None:
        self.world.store.calm_down()

    def _world_cut(self) -> None:
        """Cut all connections, and wait until the runner has made a new one."""
        cutter = self.world.cutter
        assert cutter is not None
        made, self._cut_at = cutter.connection_count, time.time()
        cutter.cut()
        wait_until(lambda: cutter.connection_count > made, "a new connection")

    def _world_kill(self) -> None:
        self.world.daemon.kill()

    def _world_stop(self) -> None:
        self.world.daemon.stop()

    def _world_start(self) -> None:
        self.world.daemon.start()

    def _world_kill_runner(self) -> None:
        self._runner.kill()

    def _world_push(self, spec: str, tree: str) -> None:
        self._client.push(self._source(tree), spec)

    def _world_evict(self, spec: str, outcome: str) -> None:
        answer = self._client.evict(spec)
        names = {entry.Outcome.Name(entry.outcome) for entry in answer.entries}
        assert names == {f"OUTCOME_{outcome}"}, answer

    def _world_evicted(self, spec: str) -> None:
        """Wait until it can be evicted: whoever holds it lets go in his own time."""

        def look() -> bool:
            entries = self._client.evict(spec).entries
            return {entry.Outcome.Name(entry.outcome) for entry in entries} == {"OUTCOME_EVICTED"}

        wait_until(look, f"the eviction of {spec}")

    def _world_holds(self, count: int) -> None:
        """Wait for so many holds; those of a connection that was cut count no more."""

        def look(status: GetCacheStatusResponse) -> bool:
            holds = _ours(status.holds, self._here)
            return [hold.start_time.ToNanoseconds() / 1e9 > self._cut_at for hold in holds] == (
                [True] * count
            )

        self._wait_for(look, f"{count} holds")

    def _world_reports(self, of: str, count: int) -> None:
        action = self._actions[of]
        self._runner.wait(lambda: len(action.progress) >= count, f"{count} reports")

    def _world_waiters(self, count: int) -> None:
        self._wait_for(
            lambda status: (
                sum(one.waiter_count for one in _ours(status.flights, self._here)) == count
            ),
            f"{count} waiters",
        )

    def _world_reads(self, part: str, count: int) -> None:
        assert self.world.store.count_reads(part) == count

    def _world_requests(self, method: str, requests: list[Fields]) -> None:
        assert self._scripted is not None
        scripted = self._scripted
        # A hold is asked for again when its stream has ended, whenever that is.
        wait_until(
            lambda: len(scripts.requests(scripted, method)) >= len(requests),
            f"{len(requests)} requests of {method}",
        )
        assert_like(scripts.requests(scripted, method), requests, f"what {method} was asked")

    def _world_authority(self, **wanted: str) -> None:
        assert self._scripted is not None
        assert_like(self._scripted.authority, wanted["is"], "the authority")

    def _world_wait(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def _wait_for(self, look: Callable[[Any], bool], what: str) -> None:
        wait_until(lambda: look(self._client.status()), what)

    # Holes

    def _find(self, word: str, argument: str) -> Any:
        if word in self._actions:
            answer = self._actions[word].answer
            assert answer is not None, f"{word} has not answered"
            return answer[argument]
        return getattr(self, f"_find_{word}")(argument)

    def _find_here(self, _: str) -> str:
        return self._here

    def _find_assets_dir(self, _: str) -> str:
        return str(self.world.daemon.assets_dir)

    def _find_root(self, _: str) -> str:
        return str(self._folder)

    def _find_source(self, tree: str) -> str:
        return str(self._source(tree))

    def _find_digest(self, tree: str) -> str:
        return trees.digest(trees.TREES[tree])

    def _find_size(self, tree: str) -> int:
        return trees.size(trees.TREES[tree])

    def _find_repeat(self, argument: str) -> str:
        text, _, count = argument.rpartition("*")
        return text * int(count)

    def _find_uuid(self, name: str) -> str:
        return self._uuids.setdefault(name, str(uuid.uuid4()))

    def _source(self, tree: str) -> Path:
        path = self._folder / SOURCES / tree
        return path if path.exists() else trees.write(trees.TREES[tree], path)


def _ours(entries: Any, here: str) -> list[Any]:
    return [entry for entry in entries if entry.asset_version.name.startswith(f"{here}/")]

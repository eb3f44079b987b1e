"""The runners: which there are, and a conversation with one."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.conftest import ROOT
from tests.support.daemon import environment

# Ends a wait for what never comes; how long things take is not what the suite asserts.
LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Language:
    """A language, and how its runner is started.

    Attributes:
        name: as the table has it.
        program: what has to be installed.
        command: the runner, once it is built.
        built: the file that is there once `make runners` has built it; None where nothing is to
            build.
        has_fast_path: whether its helper finds versions without a call.
    """

    name: str
    program: str
    command: tuple[str | Path, ...]
    built: Path | None = None
    has_fast_path: bool = True


_PYTHON: Final = (sys.executable, "-m", "tests.conformance.clients.python_runner")
_PYTHON_AIO: Final = (sys.executable, "-m", "tests.conformance.clients.python_aio_runner")
_GO: Final = ROOT / ".tools/conformance/go"
_TYPESCRIPT: Final = ROOT / "clients/typescript/build/conformance/runner.js"
_JAVA: Final = ROOT / "clients/java/conformance/target/assetd-conformance.jar"
_RUST: Final = ROOT / "clients/rust/target/debug/conformance"

LANGUAGES: Final = (
    Language("python", "python3", _PYTHON),
    Language("python-aio", "python3", _PYTHON_AIO),
    Language("go", "go", (_GO,), _GO),
    Language(
        "typescript",
        "node",
        ("node", _TYPESCRIPT),
        _TYPESCRIPT,
        has_fast_path=False,
    ),
    Language("java", "java", ("java", "-jar", _JAVA), _JAVA, has_fast_path=False),
    Language("rust", "cargo", (_RUST,), _RUST),
)


@dataclass
class Action:
    """What a runner has said of one action so far."""

    progress: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    lost: dict[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it answered or failed; a hold goes on after its answer."""
        return self.answer is not None or self.error is not None

    def take(self, line: dict[str, Any]) -> None:
        """Note one line of it."""
        if "progress" in line:
            assert not self.has_ended, f"progress after the end: {line}"
            self.progress.append(line["progress"])
        elif "entry" in line:
            self.entries.append(line["entry"])
        elif "answer" in line:
            assert self.answer is None, f"a second answer: {line}"
            self.answer = line["answer"]
        elif "error" in line:
            # A hold that is cancelled fails after its answer.
            assert self.error is None, f"a second error: {line}"
            self.error = line["error"]
        elif "lost" in line:
            self.lost = line["lost"]
        else:
            raise AssertionError(f"no line of the protocol: {line}")


class Runner:
    """One runner's process, which talks to the daemon at one address."""

    def __init__(self, language: Language, variables: dict[str, str], log: Path) -> None:
        self.language = language
        self.was_killed = False
        self._log = log
        self._actions: dict[str, Action] = {}
        self._transcript: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                language.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(variables) | {"PYTHONPATH": os.pathsep.join(sys.path)},
                cwd=ROOT,
                text=True,
                bufsize=1,
            )
        threading.Thread(target=self._read, name="runner", daemon=True).start()
        self.ready: dict[str, Any] = {}
        self._wait_for_line(lambda: bool(self.ready), "the line that it is ready")

    def say(self, request: dict[str, Any]) -> None:
        """Send a request."""
        line = json.dumps(request)
        self._transcript.append(f"> {line}")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"the runner has ended:\n{self.story()}") from None

    def begin(self, request: dict[str, Any]) -> Action:
        """Send a request that begins an action, and return what is said of it."""
        action = self._actions[request["id"]] = Action()
        self.say(request)
        return action

    def wait(self, look: Callable[[], bool], what: str) -> None:
        """Read on until `look` is true.

        Raises:
            AssertionError: it never was, or the runner ended.
        """
        self._wait_for_line(look, what)

    def story(self) -> str:
        """Return all that was said, and what the runner wrote for people."""
        return "\n".join([*self._transcript[-200:], self._log.read_text(errors="replace")[-4000:]])

    def forget(self) -> None:
        """Forget the actions of a scenario that is over."""
        self._actions.clear()
        self._transcript.clear()

    def kill(self) -> None:
        """End the process as a crash would."""
        self.was_killed = True
        self._process.kill()
        self._end()

    def close(self) -> int:
        """Ask the process to end, and return its exit code."""
        if self._process.poll() is None:
            with suppress(BrokenPipeError):
                assert self._process.stdin is not None
                self._process.stdin.write('{"do": "close"}\n')
                self._process.stdin.flush()
        return self._end()

    def _end(self) -> int:
        try:
            return self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(BrokenPipeError):
                    assert pipe is not None
                    pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # closed, since the process has ended
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def _wait_for_line(self, look: Callable[[], bool], what: str) -> None:
        # The clock starts anew with every line: what comes further is not stuck.
        while not look():
            try:
                line = self._lines.get(timeout=LIMIT_SECONDS)
            except queue.Empty:
                raise AssertionError(f"{what} never came:\n{self.story()}") from None
            assert line is not None, f"the runner ended before {what}:\n{self.story()}"
            self._take(line)

    def _take(self, line: str) -> None:
        self._transcript.append(f"< {line.rstrip()}")
        said = json.loads(line)
        if "ready" in said:
            self.ready = said["ready"]
            return
        # What a scenario that failed left behind is nobody's.
        if said["id"] in self._actions:
            self._actions[said["id"]].take(said)

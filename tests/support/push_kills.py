"""Daemons that die, or freeze, at every step of a push, and what others then find.

One daemon pushes to many assets at once; the proxy before its store stops each push at another
step. Then the daemon is killed, or frozen, at all these steps together. Another daemon, which goes
to the store directly, pushes what is in the way.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

import grpc

from tests.support.buckets import S3Bucket
from tests.support.daemon import Daemon, Daemons, running_daemons
from tests.support.http_proxy import Fate, JudgingProxy, Refusal, Request
from tests.support.ports import LOOPBACK
from tests.support.proxied_store import BUCKET, PREFIX
from tests.support.push_cases import (
    EXISTS,
    IN_PROGRESS,
    SUCCESS,
    UNAVAILABLE,
    Case,
    Order,
    next_version,
)
from tests.support.push_shapes import FIRST, Shape, leave_over, release_claims, s3_opener
from tests.support.stepping import Steps
from tests.support.versions import Content
from tests.support.versitygw import S3Server, versitygw
from tests.support.waiting import wait_until
from tests.support.wire_pushes import Outcome, push

STORE: Final = f"s3://{BUCKET}/{PREFIX}"
# A daemon lists in sixteen threads, and pushes that are stopped there keep theirs: ten of so many.
_STOPPED_AT_ONCE: Final = 48
# Those of a large part are held whole, by the daemon and by the proxy.
_LARGE_AT_ONCE: Final = 8
_CALLERS: Final = 8


class Effect(Enum):
    """What becomes of the request that a daemon dies at."""

    LOST = "it never arrives"
    ANSWER_LOST = "it takes effect"
    LATE = "it takes effect after the restart"


class Way(Enum):
    """How others come to push and commit while a pusher is frozen."""

    RELEASED = "an operator releases its claim"
    DECLARED_DEAD = "a successor starts over a copy of its directory"
    BUMPED = "they take another number"


class PushBench:
    """A store, a daemon whose requests are stepped, and another that nobody disturbs."""

    def __init__(self, server: S3Server, proxy: JudgingProxy, daemons: Daemons) -> None:
        self.bucket = S3Bucket(server)
        self.proxy = proxy
        self.steps = Steps(proxy)
        self._direct = server.environment
        through = self._direct | {"S3_ENDPOINT": f"http://{LOOPBACK}:{proxy.port}"}
        self.stepped = daemons(store=STORE, variables=through)
        self.other = daemons(store=STORE, variables=self._direct)
        self._daemons = daemons
        self._open_store = s3_opener(server)
        self._names = iter(f"cases/c{number:04}" for number in range(10_000))
        self._callers = ThreadPoolExecutor(_CALLERS)
        self._channel = self.other.channel()

    def close(self) -> None:
        """End what is the bench's own; no push is under way."""
        self._callers.shutdown()
        self._channel.close()
        self.bucket.close()

    # What is pushed

    def step_count(self, shape: Shape) -> int:
        """Return how many steps an undisturbed push takes."""
        [case] = self._cases(shape, [(0, Order.REPEAT)])
        with self.stepped.channel() as channel:
            assert push(channel, case.spec, shape.content).is_ok
        return len(self.steps.taken[case.name])

    def batches(self, shape: Shape, orders: Sequence[Order]) -> Iterator[list[Case]]:
        """Yield pushes to be stopped, one for each step and order: as many as one life takes."""
        steps = range(1, self.step_count(shape) + 1)
        cases = self._cases(shape, [(step, order) for step in steps for order in orders])
        size = _LARGE_AT_ONCE if shape.is_large else _STOPPED_AT_ONCE
        for start in range(0, len(cases), size):
            yield cases[start : start + size]

    def _cases(self, shape: Shape, stops: Sequence[tuple[int, Order]]) -> list[Case]:
        cases = [Case(next(self._names), shape, step, order) for step, order in stops]
        if shape.over is not None:
            leave_over(self._open_store, {case.name: shape.over for case in cases})
        return cases

    # A daemon that dies

    def die(self, cases: list[Case], effect: Effect) -> list[str]:
        """Kill the daemon at each push's step, start it again, and return what is wrong."""
        with self._stopped(cases, is_forwarded=effect is Effect.ANSWER_LOST):
            self._each(cases, self._push_beside_it)
            self.stepped.kill()
        for case in cases:
            case.held = self.steps.pass_on(case.name)
            if effect is Effect.LATE:
                case.may_leave_an_upload = any(map(begins_an_upload, case.held))
            else:
                self.steps.drop(case.held)
        self.stepped.start()
        wait_for_clean_up(self.stepped)
        self._each(cases, self._see_what_it_left)
        with self.stepped.channel() as channel:
            self._each(cases, lambda case: self._follow(case, channel))
        return self._findings(cases, may_leave_litter=effect is Effect.LATE)

    def _push_beside_it(self, case: Case) -> None:
        """While its claim is open, other content for the exact version is told by whom and when."""
        if case.shape.version and "open" in case.look(self.bucket).claim_states().values():
            outcome = self._push_other(case, case.spec)
            case.expect("other content beside it", outcome, case.shape.other, IN_PROGRESS)
            if not {"owner", "age_seconds"} <= set(outcome.metadata):
                case.find(f"it is not told who pushes, and since when: {outcome}")

    def _see_what_it_left(self, case: Case) -> None:
        seen = case.look(self.bucket)
        for version, state in seen.claim_states().items():
            if state != "released":
                case.find(f"after the restart the claim on {version} is {state}")
        for finding in seen.findings():
            case.find(f"after the restart {finding}")

    def _follow(self, case: Case, again: grpc.Channel) -> None:
        if case.order is Order.OTHER:
            self._push_in_its_place(case)
        # Of most cases nothing is held any more.
        self.steps.let_go(case.held)
        before = case.look(self.bucket)
        outcome = push(again, case.spec, case.shape.content, push_id=case.push_id)
        is_taken = case.acknowledged.get(case.shape.version) == case.shape.other
        case.expect("its repeat", outcome, case.shape.content, EXISTS if is_taken else SUCCESS)
        if case.order is Order.REPEAT and outcome.is_ok:
            exact = self._push_other(case, f"{case.name}:{outcome.version}")
            case.expect("other content after it", exact, case.shape.other, EXISTS)
        expected = next_version(case.look(self.bucket))
        bumped = self._push_other(case, case.name)
        case.expect("a bump", bumped, case.shape.other, SUCCESS)
        if bumped.is_ok and bumped.version != expected:
            case.find(f"a bump is {bumped}, and not {expected}, beside {before.listed}")

    def _push_in_its_place(self, case: Case) -> None:
        seen = case.look(self.bucket)
        outcome = self._push_other(case, case.spec)
        is_there = case.shape.version in seen.metas
        allowed = EXISTS if is_there else SUCCESS
        case.expect("other content in its place", outcome, case.shape.other, allowed)
        if outcome.is_ok and outcome.version != (case.shape.version or next_version(seen)):
            case.find(f"other content is {outcome}, beside {seen.listed}")

    # A daemon that freezes

    def freeze(self, cases: list[Case], way: Way) -> list[str]:
        """Freeze the daemon before each push's step, and wake it; return what is wrong."""
        with self._stopped(cases, is_forwarded=False) as pushes:
            os.kill(self.stepped.pid, signal.SIGSTOP)
            try:
                self._make_way(cases, way)
                self._each(cases, lambda case: self._push_meanwhile(case, way))
                before = {case.name: self._committed(case) for case in cases}
                for case in cases:
                    case.held = self.steps.pass_on(case.name)
                # Some of what it had sent arrives before it wakes, some after that.
                for case in cases[::2]:
                    self.steps.let_go(case.held)
            finally:
                os.kill(self.stepped.pid, signal.SIGCONT)
            for case in cases[1::2]:
                self.steps.let_go(case.held)
            for case, pushed in zip(cases, pushes, strict=True):
                # A daemon that slept finds its connections cut, and may give up for that.
                allowed = (SUCCESS, EXISTS, IN_PROGRESS, UNAVAILABLE)
                case.expect("the push that woke", pushed.result(), case.shape.content, *allowed)
        for case in cases:
            now = self._committed(case)
            for key in before[case.name]:
                if now.get(key) != before[case.name][key]:
                    case.find(f"{key} was committed, and has changed")
        return self._findings(cases, may_leave_litter=True)

    def _make_way(self, cases: list[Case], way: Way) -> None:
        if way is Way.RELEASED:
            release_claims(self._open_store, [case.name for case in cases])
        elif way is Way.DECLARED_DEAD:
            self._succeed()

    def _succeed(self) -> None:
        copied = self.stepped.assets_dir.with_name(f"successor{next(self._names)[-4:]}")
        shutil.copytree(self.stepped.assets_dir, copied, symlinks=True)
        successor = self._daemons(assets_dir=copied, store=STORE, variables=self._direct)
        wait_for_clean_up(successor)
        successor.stop()

    def _push_meanwhile(self, case: Case, way: Way) -> None:
        seen = case.look(self.bucket)
        takes_a_number = way is Way.BUMPED or not case.shape.version
        is_there = case.shape.version in seen.metas or "committing" in seen.claim_states().values()
        outcome = self._push_other(case, case.name if takes_a_number else case.spec)
        allowed = EXISTS if is_there and not takes_a_number else SUCCESS
        case.expect("other content meanwhile", outcome, case.shape.other, allowed)
        if outcome.reason == EXISTS:
            # What the frozen push had begun to commit was finished for it.
            case.acknowledged.setdefault(case.shape.version, case.shape.content)

    def _committed(self, case: Case) -> dict[str, bytes | None]:
        seen = case.look(self.bucket)
        keys = [key for key in self.bucket.keys(f"{case.name}/") if _version(key) in seen.metas]
        return {key: self.bucket.get(key) for key in keys}

    # A daemon whose store falters

    def falter(self, cases: list[Case], verdict: Fate | Refusal) -> list[str]:
        """Do so with the request of each push's step, once, and return what is wrong."""
        for case in cases:
            self.steps.judge_at(case.name, case.step, verdict)
        with self.stepped.channel() as channel:
            self._each(cases, lambda case: self._push_anyway(case, channel))
        return self._findings(cases, may_leave_litter=False)

    def _push_anyway(self, case: Case, channel: grpc.Channel) -> None:
        outcome = push(channel, case.spec, case.shape.content, push_id=case.push_id)
        case.may_leave_an_upload = begins_an_upload(self.steps.taken[case.name][case.step - 1])
        case.expect("the push", outcome, case.shape.content, SUCCESS)
        if outcome.already_existed or outcome.version not in {case.shape.version, FIRST}:
            case.find(f"it is {outcome}, found there: {outcome.already_existed}")

    # For all

    @contextmanager
    def _stopped(self, cases: list[Case], *, is_forwarded: bool) -> Iterator[list[Future[Outcome]]]:
        """Push all, and give the pushes once each was stopped; they have ended after the block."""
        for case in cases:
            self.steps.stop_at(case.name, case.step, is_forwarded=is_forwarded)
        with ThreadPoolExecutor(len(cases)) as pushers, self.stepped.channel() as channel:
            pushes = [
                pushers.submit(push, channel, case.spec, case.shape.content, push_id=case.push_id)
                for case in cases
            ]
            try:
                for case, pushed in zip(cases, pushes, strict=True):
                    self._wait_for_the_step(case, pushed)
                yield pushes
            except BaseException:
                self.stepped.kill()
                raise

    def _wait_for_the_step(self, case: Case, pushed: "Future[Outcome]") -> None:
        wait_until(
            lambda: self.steps.has_stopped(case.name) or pushed.done(),
            f"step {case.step} of {case.shape.name}, after {self.steps.taken[case.name]}",
        )
        assert self.steps.has_stopped(case.name), f"no step {case.step}: {pushed.result()}"

    def _push_other(self, case: Case, spec: str) -> Outcome:
        content: Content = case.shape.other
        return push(self._channel, spec, content)

    def _each(self, cases: list[Case], work: Callable[[Case], None]) -> None:
        list(self._callers.map(work, cases))

    def _findings(self, cases: list[Case], *, may_leave_litter: bool) -> list[str]:
        self._each(cases, lambda case: case.judge(self.bucket, may_leave_litter=may_leave_litter))
        uploads = self.bucket.uploads()
        for case in cases:
            if not case.may_leave_an_upload:
                for key in [key for key in uploads if f"/{case.name}/" in key]:
                    case.find(f"an upload of {key} is left")
        found = [finding for case in cases for finding in case.findings]
        return found + [f"{path} is left" for path in files_of_pushes(self.stepped)]


def files_of_pushes(daemon: Daemon) -> list[Path]:
    """Return what a daemon keeps of pushes."""
    return [path for path in (daemon.assets_dir / ".assetd/push").rglob("*") if path.is_file()]


def wait_for_clean_up(daemon: Daemon) -> None:
    """Return once a daemon has done with the pushes of its past lives."""
    wait_until(lambda: not files_of_pushes(daemon), "the end of the pushes of a past life")


def begins_an_upload(request: Request | str) -> bool:
    """Tell whether a request is the beginning of a multipart upload."""
    return str(request).endswith("?uploads")


def _version(key: str) -> str:
    return key.split("/")[2].removesuffix(".meta")


@contextmanager
def push_bench(folder: Path) -> Iterator[PushBench]:
    """Run the store, the proxy and the daemons below `folder` for the block."""
    with ExitStack() as stack:
        server = stack.enter_context(versitygw(folder / "s3"))
        server.make_bucket(BUCKET)
        proxy = stack.enter_context(JudgingProxy(server.port))
        daemons = stack.enter_context(running_daemons(folder))
        bench = PushBench(server, proxy, daemons)
        stack.callback(bench.close)
        yield bench

"""Evict, pin, unpin, verify: what is asked, what comes back, and what a cut does to it."""

import threading
from collections.abc import Callable, Iterator

import assetd
import pytest
from assetd import Client
from assetd.v1.cache_service_pb2 import (
    CacheSelector,
    EvictRequest,
    EvictResponse,
    PinRequest,
    UnpinRequest,
    VerifyRequest,
    VerifyResponse,
    VerifyResult,
)

from tests.clients.python.scripted import (
    CUT,
    GUARD_SECONDS,
    VERSION,
    Context,
    Failure,
    ScriptedDaemon,
    all_checked,
    checked,
    checks,
    completed,
    hashed,
    plays,
    started,
)

SOUND, DAMAGED = VerifyResult.OUTCOME_SOUND, VerifyResult.OUTCOME_DAMAGED
EVICTED = EvictResponse(
    entries=[
        EvictResponse.Entry(
            asset_version=VERSION, outcome=EvictResponse.Entry.OUTCOME_EVICTED, freed_bytes=100
        )
    ],
    freed_bytes=100,
)


def test_evict_says_which_versions_and_answers_with_the_contracts_message(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """One by its spec, many by a prefix, all by a word of its own."""
    daemon.evicts.extend([EVICTED] * 3)
    assert client.evict("nlp/ranker:1.2") == EVICTED
    client.evict(name_prefix="nlp/", dry_run=True)
    client.evict(everything=True)
    assert daemon.evict_requests == [
        EvictRequest(selector=CacheSelector(spec="nlp/ranker:1.2")),
        EvictRequest(selector=CacheSelector(name_prefix="nlp/"), dry_run=True),
        EvictRequest(selector=CacheSelector(all=True)),
    ]


@pytest.mark.parametrize("ask", [Client.evict, Client.verify])
def test_nothing_said_never_means_everything(client: Client, ask: Callable[..., object]) -> None:
    """Nor do two things said mean one of them; what is empty is refused by the daemon."""
    with pytest.raises(ValueError, match="everything=True"):
        ask(client)
    with pytest.raises(ValueError, match="everything=True"):
        ask(client, "nlp/ranker:1.2", everything=True)
    with pytest.raises(ValueError, match="everything=True"):
        ask(client, name_prefix="", everything=True)


def test_an_eviction_is_repeated(daemon: ScriptedDaemon, client: Client) -> None:
    """Repeating it is safe, and the daemon may have been restarted."""
    daemon.evicts.extend([CUT, EVICTED])
    assert client.evict("nlp/ranker:1.2") == EVICTED
    daemon.evicts.append(Failure("NOT_FOUND", "NOT_CACHED"))
    with pytest.raises(assetd.NotCachedError):
        client.evict("nlp/ranker:1.2")


def test_pin_and_unpin_answer_with_the_contracts_messages(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """With the state of the cache."""
    pinned, unpinned = client.pin("nlp/ranker:1.2"), client.unpin("nlp/ranker:1.2")
    assert (pinned.asset_version.version, pinned.cache_state.pinned) == ("1.2", True)
    assert (unpinned.asset_version.version, unpinned.cache_state.pinned) == ("1.2", False)
    assert daemon.pin_requests == [
        PinRequest(spec="nlp/ranker:1.2"),
        UnpinRequest(spec="nlp/ranker:1.2"),
    ]


def test_verify_gives_a_result_for_each_version(daemon: ScriptedDaemon, client: Client) -> None:
    """As soon as it is known; the figures and all events go to whoever asked for them."""
    events = [hashed(40), checked("1.2", SOUND), hashed(100), checked("1.1", DAMAGED, "a")]
    daemon.verifies.append(checks(*events, all_checked(1, 1)))
    figures: list[int] = []
    seen: list[VerifyResponse] = []
    results = client.verify(
        name_prefix="nlp/",
        repair=True,
        on_progress=lambda p: figures.append(p.hashed_bytes),
        on_event=seen.append,
    )
    assert next(results).asset_version.version == "1.2"
    (last,) = results
    assert (last.outcome, list(last.damaged_paths)) == (DAMAGED, ["a"])
    assert figures == [40, 100]
    assert seen == [*events, all_checked(1, 1)]
    assert daemon.verify_requests == [
        VerifyRequest(selector=CacheSelector(name_prefix="nlp/"), repair=True)
    ]


def test_a_check_that_was_cut_begins_anew(daemon: ScriptedDaemon, client: Client) -> None:
    """And gives each result once."""
    daemon.verifies.append(checks(hashed(40), checked("1.2", SOUND), CUT))
    daemon.verifies.append(checks(CUT))
    daemon.verifies.append(checks(checked("1.2", SOUND), checked("1.1", SOUND), all_checked(2)))
    results = list(client.verify(everything=True))
    assert [result.asset_version.version for result in results] == ["1.2", "1.1"]
    assert len(daemon.verify_requests) == 3


def test_a_check_that_fails_is_not_repeated(daemon: ScriptedDaemon, client: Client) -> None:
    """Nor is one that ends without its last event taken for whole."""
    daemon.verifies.append(checks(checked("1.2", SOUND), Failure("DATA_LOSS", "BAD_MANIFEST")))
    with pytest.raises(assetd.BadManifestError):
        list(client.verify(everything=True))
    daemon.verifies.append(checks(checked("1.2", SOUND)))
    with pytest.raises(assetd.InternalError, match="without an answer"):
        list(client.verify(everything=True))


def test_a_check_that_nobody_follows_stops(daemon: ScriptedDaemon, client: Client) -> None:
    """Hashing a whole cache for nobody would be a pity."""
    left = threading.Event()

    def script(_: VerifyRequest, context: Context) -> Iterator[VerifyResponse]:
        # Before the first answer: a server does not go on with a call that has been left since.
        context.add_callback(left.set)
        yield checked("1.2", SOUND)
        left.wait(GUARD_SECONDS)

    daemon.verifies.append(script)
    for _ in (results := client.verify(everything=True)):
        break
    results.close()
    assert left.wait(GUARD_SECONDS)


def test_a_fetch_asks_for_some_of_the_files(daemon: ScriptedDaemon, client: Client) -> None:
    """By globs, of which a single text is one; or for the part alone."""
    daemon.fetches.extend([plays(started(), completed())] * 2)
    client.fetch("nlp/ranker:1", include=["*.json", "a/**"], exclude="*.bin")
    client.fetch("nlp/ranker:1[vocab]", part_only=True)
    globs, part = daemon.fetch_requests
    assert (list(globs.include), list(globs.exclude)) == (["*.json", "a/**"], ["*.bin"])
    assert not globs.part_only
    assert (list(part.include), list(part.exclude), part.part_only) == ([], [], True)

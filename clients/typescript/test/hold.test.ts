import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import { Code } from "@connectrpc/connect";

import { AssetdError, Client } from "../src/index.js";
import type { HeldAsset } from "../src/index.js";
import { REAL_SEAMS } from "../src/retry.js";
import { completed, daemonError, play, playAndWait, ScriptedDaemon, started } from "./daemon.js";
import type { Script } from "./daemon.js";

const seams = { ...REAL_SEAMS, jitter: () => 1, pause: () => Promise.resolve() };
const holding = playAndWait(started(), completed());
const draining = daemonError(Code.Unavailable, "SHUTTING_DOWN", {}, 100);

/** Ends a hold with the error when told to. */
function holdingUntil(told: Promise<unknown>, error = draining): Script {
  return async function* () {
    yield started();
    yield completed();
    await told;
    throw error;
  };
}

function signal(): { promise: Promise<void>; tell: () => void } {
  let tell = (): void => undefined;
  const promise = new Promise<void>((resolve) => (tell = resolve));
  return { promise, tell };
}

async function calls(daemon: ScriptedDaemon, count: number): Promise<void> {
  while (daemon.requests.length < count) await new Promise((wake) => setTimeout(wake, 5));
}

test("a scope ends the hold and its call", async () => {
  const daemon = await ScriptedDaemon.start([holding]);
  using client = new Client({ address: daemon.address }, seams);
  let kept: HeldAsset;
  {
    await using held = await client.hold("nlp/ranker");
    kept = held;
    assert.equal(held.path, "/assets/nlp/ranker/1.2");
    assert.ok(held.isHeld);
    assert.equal(daemon.open, 1);
  }
  assert.ok(!kept.isHeld);
  assert.equal(await kept.ended, undefined);
  await daemon.quiet();
  await kept.release();
});

test("a hold is taken again after a drain, for the very version, and not hashed again", async () => {
  const { promise, tell } = signal();
  const daemon = await ScriptedDaemon.start([holdingUntil(promise), holding]);
  using client = new Client({ address: daemon.address }, seams);
  const held = await client.hold("nlp/ranker[a]", { verify: true, forceDownload: true });
  tell();
  await calls(daemon, 2);
  const [first, second] = daemon.requests;
  assert.deepEqual([first?.verify, first?.forceDownload, first?.hold], [true, true, true]);
  assert.deepEqual([second?.verify, second?.forceDownload, second?.hold], [false, false, true]);
  assert.equal(second?.spec, "nlp/ranker:1.2[a]");
  assert.ok(held.isHeld);
  await held.release();
  await daemon.quiet();
});

test("a hold outlives cuts, full caches and statuses that nobody decided", async () => {
  const full = daemonError(Code.ResourceExhausted, "CACHE_FULL");
  const daemon = await ScriptedDaemon.start([
    async function* ({ signal }) {
      yield started();
      yield completed();
      setImmediate(() => daemon.cut());
      await once(signal, "abort");
    },
    play([], full),
    play([started(), completed()]),
    holding,
  ]);
  using client = new Client({ address: daemon.address }, seams);
  const held = await client.hold("nlp/ranker");
  await calls(daemon, 4);
  assert.ok(held.isHeld);
  await held.release();
  await daemon.quiet();
});

test("an answer that no later call may change ends the hold, and the scope tells", async () => {
  const { promise, tell } = signal();
  const gone = daemonError(Code.NotFound, "VERSION_NOT_FOUND");
  const daemon = await ScriptedDaemon.start([holdingUntil(promise), play([], gone)]);
  using client = new Client({ address: daemon.address }, seams);
  const held = await client.hold("nlp/ranker");
  tell();
  const why = await held.ended;
  assert.ok(AssetdError.is(why, "VERSION_NOT_FOUND"));
  assert.ok(!held.isHeld);
  await held.release();
});

test("neither the signal nor the timeout of the fetch ends the hold", async () => {
  const daemon = await ScriptedDaemon.start([holding]);
  using client = new Client({ address: daemon.address }, seams);
  const controller = new AbortController();
  const held = await client.hold("nlp/ranker", { signal: controller.signal, timeoutMs: 60_000 });
  controller.abort();
  assert.equal(await Promise.race([held.ended, Promise.resolve("held")]), "held");
  assert.ok(held.isHeld);
  assert.equal(daemon.open, 1);
  await held.release();
});

test("a signal that aborts while the fetch of a hold is under way leaves no call behind", async () => {
  const daemon = await ScriptedDaemon.start([playAndWait(started())]);
  using client = new Client({ address: daemon.address }, seams);
  const controller = new AbortController();
  const wanted = client.hold("nlp/ranker", { signal: controller.signal });
  await calls(daemon, 1);
  controller.abort();
  await assert.rejects(wanted, { name: "AbortError" });
  await daemon.quiet();
});

test("closing the client ends its holds", async () => {
  const daemon = await ScriptedDaemon.start([holding]);
  const client = new Client({ address: daemon.address }, seams);
  const held = await client.hold("nlp/ranker");
  client.close();
  assert.equal(await held.ended, undefined);
  assert.ok(!held.isHeld);
  await daemon.quiet();
});

test("a hold that is released while a daemon is away stops asking", async () => {
  const { promise, tell } = signal();
  const daemon = await ScriptedDaemon.start([holdingUntil(promise)]);
  // Pauses that only the release ends.
  const patient = { ...seams, pause: (_: number, signal: AbortSignal) => REAL_SEAMS.pause(1e9, signal) };
  using client = new Client({ address: daemon.address }, patient);
  const held = await client.hold("nlp/ranker");
  tell();
  await daemon.quiet();
  assert.ok(held.isHeld);
  await held.release();
  assert.equal(daemon.requests.length, 1);
});

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

import { AssetdError, CallTimeoutError, Client, DaemonUnavailableError } from "../src/index.js";
import type { ClientOptions, FetchProgress } from "../src/index.js";
import { ResolveVersionResponseSchema } from "../src/gen/assetd/v1/asset_service_pb.js";
import { REAL_SEAMS } from "../src/retry.js";
import {
  completed,
  daemonError,
  play,
  playAndWait,
  progressed,
  ScriptedDaemon,
  started,
} from "./daemon.js";
import type { Event } from "./daemon.js";

/** A client that does not wait, and what it would have waited. */
function impatient(daemon: ScriptedDaemon, options: ClientOptions = {}) {
  const pauses: number[] = [];
  const seams = {
    ...REAL_SEAMS,
    jitter: () => 1,
    pause: (ms: number) => Promise.resolve(void pauses.push(ms)),
  };
  return { client: new Client({ address: daemon.address, ...options }, seams), pauses };
}

const busy = (): ConnectError => daemonError(Code.Unavailable, "STORE_UNAVAILABLE", {}, 250);

test("a fetch gives what the daemon answered, and its progress on the way", async () => {
  const daemon = await ScriptedDaemon.start([play([started(), progressed(40), completed()])]);
  using client = impatient(daemon, { caller: "tester" }).client;
  const seen: FetchProgress[] = [];
  const asset = await client.fetch("nlp/ranker[a/b]", {
    onProgress: (progress) => seen.push(progress),
    include: ["*.json"],
    freshness: "STORE_OR_CACHE",
    progressIntervalMs: 1500,
  });
  assert.equal(asset.path, "/assets/nlp/ranker/1.2");
  assert.deepEqual([asset.name, asset.version, asset.kind], ["nlp/ranker", "1.2", "FILE"]);
  assert.deepEqual([asset.sizeBytes, asset.transferredBytes], [100, 100]);
  assert.deepEqual(seen.map((p) => [p.presentBytes, p.totalBytes]), [[40, 100]]);
  const [request] = daemon.requests;
  assert.equal(request?.caller, "tester");
  assert.deepEqual(request?.include, ["*.json"]);
  assert.equal(request?.progressInterval?.nanos, 500_000_000);
  assert.equal(daemon.headers[0]?.get("traceparent"), null);
  await daemon.quiet();
});

test("a stream that is cut is joined again, for the version that it had begun with", async () => {
  const daemon = await ScriptedDaemon.start([
    play([started(), progressed(40)], busy()),
    play([started(), progressed(60), completed()]),
  ]);
  const { client, pauses } = impatient(daemon);
  await client.fetch("nlp/ranker[a/b]");
  assert.deepEqual(daemon.requests.map((r) => r.spec), ["nlp/ranker[a/b]", "nlp/ranker:1.2[a/b]"]);
  // What the daemon asked for comes on top of our own pause.
  assert.deepEqual(pauses, [100 + 250]);
  client.close();
});

test("a daemon that dies in the middle is waited for", async () => {
  const daemon = await ScriptedDaemon.start([
    async function* ({ signal }) {
      yield started();
      yield progressed(40);
      setImmediate(() => daemon.cut());
      await once(signal, "abort");
    },
    play([started(), completed()]),
  ]);
  const { client } = impatient(daemon);
  assert.equal((await client.fetch("nlp/ranker")).version, "1.2");
  client.close();
});

test("the attempt rises where another stream's figures are lower, and never falls itself", async () => {
  const daemon = await ScriptedDaemon.start([
    play([started(), progressed(40, 1), progressed(10, 2)], busy()),
    play([started(), progressed(5, 1), progressed(9, 1), progressed(3, 2), completed()]),
  ]);
  const { client } = impatient(daemon);
  const seen: [number, number][] = [];
  await client.fetch("nlp/ranker", { onProgress: (p) => seen.push([p.attempt, p.presentBytes]) });
  assert.deepEqual(seen, [[1, 40], [2, 10], [3, 5], [3, 9], [4, 3]]);
  client.close();
});

test("a total that is known stays known, over all streams", async () => {
  const told = (bytes: bigint, totalFiles?: number): Event => {
    const totals = totalFiles === undefined ? {} : { totalFiles };
    return { case: "progress", value: { presentBytes: bytes, ...totals } };
  };
  const daemon = await ScriptedDaemon.start([
    play([told(0n), started(), progressed(40)], busy()),
    play([started(), told(40n), told(41n, 7), told(42n), completed()]),
  ]);
  const { client } = impatient(daemon);
  const seen: (number | undefined)[][] = [];
  await client.fetch("nlp/ranker", { onProgress: (p) => seen.push([p.totalBytes, p.totalFiles]) });
  const none = undefined;
  assert.deepEqual(seen, [[none, none], [100, none], [100, none], [100, 7], [100, 7]]);
  client.close();
});

test("a daemon whose figures fall within one attempt is not believed", async () => {
  const daemon = await ScriptedDaemon.start([
    play([started(), progressed(40, 1), progressed(39, 1), completed()]),
  ]);
  const { client } = impatient(daemon);
  await assert.rejects(client.fetch("nlp/ranker"), (error) => {
    assert(AssetdError.is(error, "INTERNAL"));
    assert.equal(error.metadata["earlier_present_bytes"], "40");
    assert.equal(error.metadata["present_bytes"], "39");
    return true;
  });
  client.close();
});

test("patience ends, and starts anew with every step further", async () => {
  let now = 0;
  const daemon = await ScriptedDaemon.start([
    play([started(), progressed(10)], busy()),
    play([started(), progressed(20)], busy()),
    play([started(), progressed(20)], busy()),
  ]);
  const seams = {
    now: () => now,
    jitter: () => 1,
    pause: (ms: number) => Promise.resolve(void (now += ms)),
  };
  using client = new Client({ address: daemon.address, retry: { patienceMs: 500 } }, seams);
  await assert.rejects(client.fetch("nlp/ranker"), (error: AssetdError) => {
    assert.ok(AssetdError.is(error, "STORE_UNAVAILABLE"));
    return error.retryAfterMs === 250;
  });
  assert.equal(daemon.requests.length, 3);
});

test("what is not UNAVAILABLE is believed at once, with its reason and metadata", async () => {
  const error = daemonError(Code.NotFound, "VERSION_NOT_FOUND", { version: "9" });
  const daemon = await ScriptedDaemon.start([play([], error)]);
  using client = impatient(daemon).client;
  await assert.rejects(client.fetch("nlp/ranker:9"), (failed) => {
    assert.ok(failed instanceof AssetdError);
    const { reason, code, metadata, message } = failed;
    assert.deepEqual({ reason, code, message }, {
      reason: "VERSION_NOT_FOUND",
      code: "NOT_FOUND",
      message: "said VERSION_NOT_FOUND",
    });
    assert.deepEqual(metadata, { version: "9" });
    return !AssetdError.is(failed, "ASSET_NOT_FOUND");
  });
});

const reset = (): ConnectError => new ConnectError("reset by a proxy", Code.Internal);

test("a stream that something on the way ends is met as a daemon that is away", async () => {
  const daemon = await ScriptedDaemon.start([
    play([started(), progressed(40)], reset()),
    play([started(), completed()]),
  ]);
  const { client, pauses } = impatient(daemon);
  assert.equal((await client.fetch("nlp/ranker")).version, "1.2");
  assert.deepEqual(pauses, [100]);
  client.close();
});

test("questions are repeated after a reset too, until patience ends", async () => {
  let asked = 0;
  const daemon = await ScriptedDaemon.start([], {
    resolveVersion: () => {
      asked += 1;
      throw reset();
    },
    list: () => {
      asked += 1;
      if (asked < 6) throw reset();
      return {};
    },
  });
  let now = 0;
  const seams = {
    now: () => now,
    jitter: () => 1,
    pause: (ms: number) => Promise.resolve(void (now += ms)),
  };
  using client = new Client({ address: daemon.address, retry: { patienceMs: 700 } }, seams);
  await assert.rejects(client.resolve("nlp/ranker"), (error) => {
    assert.ok(error instanceof AssetdError);
    return error.code === "INTERNAL" && error.reason === "" && error.message === "reset by a proxy";
  });
  // After 100, 200 and 400 ms.
  assert.equal(asked, 4);
  for await (const entry of client.list()) assert.fail(entry.name);
  assert.equal(asked, 6);
});

test("the timeout of a listing is for each page", async () => {
  let now = 0;
  let asked = 0;
  const daemon = await ScriptedDaemon.start([], {
    list: ({ pageToken }) => {
      asked += 1;
      // Each page is had at the second try.
      if (asked % 2 === 1) throw busy();
      return { nextPageToken: pageToken === "xx" ? "" : `${pageToken}x` };
    },
  });
  const seams = {
    now: () => now,
    jitter: () => 1,
    pause: (ms: number) => Promise.resolve(void (now += ms)),
  };
  using client = new Client({ address: daemon.address }, seams);
  for await (const entry of client.list("", { timeoutMs: 60_000 })) assert.fail(entry.name);
  const pause = 100 + 250;
  assert.deepEqual([asked, now], [6, 3 * pause]);
  asked = 0;
  for await (const entry of client.list("", { timeoutMs: 2 * pause })) assert.fail(entry.name);
  assert.equal(asked, 6);
});

test("what is no message of the contract is no reset, and not asked for again", async () => {
  let asked = 0;
  const daemon = await ScriptedDaemon.start([], {
    resolveVersion: () => {
      asked += 1;
      const answer = create(ResolveVersionResponseSchema);
      // In the place of the version, bytes that are none.
      answer.$unknown = [{ no: 1, wireType: WireType.LengthDelimited, data: Uint8Array.of(2, 255, 255) }];
      return answer;
    },
  });
  using client = impatient(daemon).client;
  await assert.rejects(client.resolve("nlp/ranker"), (error: AssetdError) => {
    return error.code === "INTERNAL" && error.message.startsWith("parse binary");
  });
  assert.equal(asked, 1);
});

test("a stream that falls silent is given up and joined again", async () => {
  const daemon = await ScriptedDaemon.start([
    playAndWait(started()),
    // On a machine that is busy, these may seem silent too.
    ...Array.from({ length: 50 }, () => play([started(), completed()])),
  ]);
  const { client, pauses } = impatient(daemon, { retry: { stallTimeoutMs: 1 } });
  await client.fetch("nlp/ranker", { progressIntervalMs: 50 });
  assert.ok(pauses.length >= 1);
  await daemon.quiet();
  client.close();
});

test("the time of the caller's own callback is no silence", async (t) => {
  const called = new EventEmitter();
  const daemon = await ScriptedDaemon.start([
    async function* () {
      const isCalled = once(called, "call");
      yield started();
      yield progressed(10);
      await isCalled;
      yield completed();
    },
    play([started(), completed()]),
  ]);
  using client = impatient(daemon, { retry: { stallTimeoutMs: 1 } }).client;
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const onProgress = (): void => {
    called.emit("call");
    for (let seconds = 0; seconds < 5; seconds += 1) t.mock.timers.tick(1_000);
  };
  await client.fetch("nlp/ranker", { progressIntervalMs: 50, onProgress });
  assert.equal(daemon.requests.length, 1);
  t.mock.timers.reset();
});

test("silence that lasts is told as what it is", async () => {
  const daemon = await ScriptedDaemon.start([playAndWait(started())]);
  const retry = { stallTimeoutMs: 1, patienceMs: 0, connectPatienceMs: 0 };
  using client = impatient(daemon, { retry }).client;
  await assert.rejects(client.fetch("nlp/ranker", { progressIntervalMs: 50 }), (error) => {
    assert.ok(error instanceof DaemonUnavailableError);
    assert.match(error.message, /said nothing for 0.151 seconds/);
    return error.reason === "" && error.code === "UNAVAILABLE";
  });
});

test("an aborted fetch rejects with the signal's reason and leaves no call behind", async () => {
  const daemon = await ScriptedDaemon.start([playAndWait(started(), progressed(1))]);
  using client = impatient(daemon).client;
  const controller = new AbortController();
  const mine = new Error("mine");
  const fetching = client.fetch("nlp/ranker", {
    signal: controller.signal,
    onProgress: () => controller.abort(mine),
  });
  await assert.rejects(fetching, (error) => error === mine);
  await daemon.quiet();
});

test("a signal that is aborted already sends nothing", async () => {
  const daemon = await ScriptedDaemon.start([]);
  using client = impatient(daemon).client;
  await assert.rejects(client.fetch("nlp/ranker", { signal: AbortSignal.abort() }), {
    name: "AbortError",
  });
  assert.equal(daemon.requests.length, 0);
});

test("what onProgress throws ends the fetch", async () => {
  const daemon = await ScriptedDaemon.start([playAndWait(started(), progressed(1))]);
  using client = impatient(daemon).client;
  const mine = new TypeError("mine");
  const fetching = client.fetch("nlp/ranker", {
    onProgress: () => {
      throw mine;
    },
  });
  await assert.rejects(fetching, (error) => error === mine);
  await daemon.quiet();
});

test("the timeout ends a fetch over all its repeats", async () => {
  const daemon = await ScriptedDaemon.start([playAndWait(started())]);
  using client = impatient(daemon).client;
  await assert.rejects(client.fetch("nlp/ranker", { timeoutMs: 50 }), (error) => {
    assert.ok(error instanceof CallTimeoutError);
    return error.code === "DEADLINE_EXCEEDED" && error.metadata["timeout_ms"] === "50";
  });
  await daemon.quiet();
  await assert.rejects(client.fetch("nlp/ranker", { timeoutMs: -1 }), RangeError);
});

test("closing the client ends its calls, and later ones reject", async () => {
  const daemon = await ScriptedDaemon.start([playAndWait(started(), progressed(1))]);
  const { client } = impatient(daemon);
  const fetching = client.fetch("nlp/ranker", { onProgress: () => client.close() });
  await assert.rejects(fetching, /this client was closed while it called/);
  await assert.rejects(client.resolve("nlp/ranker"), /this client is closed/);
  await daemon.quiet();
});

test("a stream that ends without an answer is a defect", async () => {
  const daemon = await ScriptedDaemon.start([play([started()])]);
  using client = impatient(daemon).client;
  await assert.rejects(client.fetch("nlp/ranker"), (error) => AssetdError.is(error, "INTERNAL"));
});

test("without a daemon the address and the cause are told, after a short patience", async () => {
  const daemon = await ScriptedDaemon.start([]);
  daemon.stop();
  const address = "unix:///nowhere/assetd.sock";
  const { client, pauses } = impatient(daemon, { address, retry: { connectPatienceMs: 350 } });
  await assert.rejects(client.fetch("nlp/ranker"), (error) => {
    assert.ok(error instanceof DaemonUnavailableError);
    assert.match(error.message, /no assetd daemon answers at unix:\/\/\/nowhere\/assetd.sock/);
    return error.metadata["cause"]?.includes("ENOENT") === true;
  });
  assert.deepEqual(pauses, [100, 200]);
});

test("one signal may be that of many calls at a time", async (t) => {
  const warnings: Error[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  const scripts = Array.from({ length: 150 }, () => play([started(), completed()]));
  const daemon = await ScriptedDaemon.start(scripts);
  using client = impatient(daemon).client;
  const { signal } = new AbortController();
  await Promise.all(scripts.map(() => client.fetch("nlp/ranker", { signal })));
  // Warnings are told a turn later.
  await new Promise(setImmediate);
  assert.deepEqual(warnings, []);
});

test("a timeout beyond what a timer can wait for is none", async () => {
  const daemon = await ScriptedDaemon.start([play([started(), completed()])]);
  using client = impatient(daemon, { retry: { stallTimeoutMs: 1e12 } }).client;
  assert.equal((await client.fetch("nlp/ranker", { timeoutMs: 1e12 })).version, "1.2");
});

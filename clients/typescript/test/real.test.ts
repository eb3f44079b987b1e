import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { before, test } from "node:test";

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { parseAddress } from "../src/address.js";
import { Connection } from "../src/connection.js";
import {
  AssetdError,
  CallTimeoutError,
  Client,
  DaemonUnavailableError,
  errorFrom,
} from "../src/index.js";
import type { PushPhase, Reason } from "../src/index.js";
import { DEFAULT_RETRY, REAL_SEAMS } from "../src/retry.js";
import { CacheService } from "../src/v1.js";
import { Daemon, temporaryFolder } from "./daemon.js";

let daemon: Daemon;
let client: Client;
let model: string;

/** What the daemon says of itself, by the stubs alone. */
function cacheService() {
  const path = parseAddress(daemon.address, false).socketPath ?? "";
  const nodeOptions = { createConnection: () => createConnection({ path }) };
  return createClient(CacheService, createGrpcTransport({ baseUrl: "http://localhost", nodeOptions }));
}

async function holders(): Promise<string[]> {
  const { holds } = await cacheService().getCacheStatus({});
  return holds.map((hold) => `${hold.caller} ${hold.assetVersion?.name}:${hold.assetVersion?.version}`);
}

before(async () => {
  daemon = await Daemon.start();
  client = new Client({ address: daemon.address, caller: "tester" });
  model = join(await temporaryFolder(), "model");
  await mkdir(join(model, "vocab"), { recursive: true });
  await writeFile(join(model, "weights.bin"), Buffer.alloc(3 << 20, "weights"));
  await writeFile(join(model, "vocab/en.txt"), "a b c");
  await writeFile(join(model, "config.json"), "{}");
});

test("what is pushed is fetched, byte by byte, and a repeated push changes nothing", async () => {
  const phases = new Set<PushPhase>();
  const pushId = "ae518eaf-3699-4ad0-bce6-e34e87c5dd31";
  const options = { labels: { git: "a1" }, mode: "NEW", pushId } as const;
  const pushed = await client.push(model, "nlp/ranker", {
    ...options,
    onProgress: ({ phase }) => phases.add(phase),
  });
  assert.deepEqual([pushed.name, pushed.version, pushed.alreadyExisted], ["nlp/ranker", "0.0", false]);
  assert.deepEqual([pushed.kind, pushed.labels, pushed.fileCount], ["DIRECTORY", { git: "a1" }, 3]);
  assert.ok(phases.has("HASHING") && phases.has("SENDING"));
  // As anyone can compute it.
  const sums = execFileSync("sha256sum", ["config.json", "vocab/en.txt", "weights.bin"], { cwd: model });
  const digest = execFileSync("sha256sum", { input: sums }).toString().slice(0, 64);
  assert.equal(pushed.digest, `sha256:${digest}`);
  assert.equal((await client.push(model, "nlp/ranker", options)).version, "0.0");
  assert.ok((await client.push(model, "nlp/ranker:0.0")).alreadyExisted);

  assert.equal((await client.resolve("nlp/ranker")).cacheState.presence, "ABSENT");
  const asset = await client.fetch("nlp/ranker", { expectedDigest: pushed.digest, verify: true });
  assert.deepEqual([asset.source, asset.version, asset.resolution], ["STORE", "0.0", "STORE"]);
  assert.deepEqual([asset.transferredBytes, asset.sizeBytes], [pushed.sizeBytes, pushed.sizeBytes]);
  assert.equal(asset.path, join(daemon.assetsDir, asset.relativePath));
  for (const file of ["weights.bin", "vocab/en.txt", "config.json"]) {
    assert.deepEqual(await readFile(join(asset.path, file)), await readFile(join(model, file)));
  }
  assert.equal((await client.fetch("nlp/ranker:0.0")).source, "CACHE");
  const part = await client.fetch("nlp/ranker:0.0[vocab/en.txt]");
  assert.equal(await readFile(part.path, "utf8"), "a b c");
  assert.equal((await client.resolve("nlp/ranker:0")).cacheState.presence, "PRESENT");
});

test("a file is an asset too, and some files of a version can be had", async () => {
  const file = await client.push(join(model, "config.json"), "nlp/config:2.5");
  assert.deepEqual([file.version, file.kind], ["2.5", "FILE"]);
  assert.equal(await readFile((await client.fetch("nlp/config")).path, "utf8"), "{}");
  await client.push(model, "nlp/some");
  const some = await client.fetch("nlp/some", { include: ["**/*.txt"] });
  assert.ok(existsSync(join(some.path, "vocab/en.txt")) && !existsSync(join(some.path, "config.json")));
});

test("failures are those of the contract", async () => {
  const rejects = (promise: Promise<unknown>, ...reasons: Reason[]) =>
    assert.rejects(promise, (error) => AssetdError.is(error, ...reasons));
  await rejects(client.resolve("no/such"), "ASSET_NOT_FOUND");
  await rejects(client.fetch("nlp/ranker:9.9"), "VERSION_NOT_FOUND");
  await rejects(client.fetch("nlp/ranker[no]"), "PART_NOT_FOUND");
  await rejects(client.resolve("no/such", { freshness: "CACHE" }), "NOT_CACHED");
  await rejects(client.push(model, "nlp/config:2.5"), "VERSION_EXISTS");
  await rejects(client.push(model, "nlp/config", { mode: "NEW" }), "ASSET_EXISTS");
  await rejects(client.push(model, "no/such", { mode: "UPDATE" }), "ASSET_NOT_FOUND");
  await rejects(client.push(model, "Bad Name"), "INVALID_NAME", "INVALID_SPEC");
  await assert.rejects(client.push(model, "nlp/late", { timeoutMs: 0 }), CallTimeoutError);
});

test("what was staged on the node is pushed from where it lies", async () => {
  const staged = join(daemon.assetsDir, ".assetd/push/job");
  await cp(model, join(staged, "model"), { recursive: true });
  await writeFile(join(staged, "weights"), "weights");
  const { digest } = await client.push(model, "staged/sent");
  const labels = { by: "me" };
  const relative = await client.pushStaged("job/model", "staged/relative", { labels });
  assert.deepEqual([relative.version, relative.digest, relative.labels], ["0.0", digest, labels]);
  // As the daemon has it, and as this process does.
  using seeing = new Client({ address: daemon.address, assetsDir: daemon.assetsDir });
  for (const each of [client, seeing]) {
    const absolute = await each.pushStaged(join(staged, "weights"), "staged/absolute:2.0");
    assert.deepEqual([absolute.version, absolute.kind, absolute.sizeBytes], ["2.0", "FILE", 7]);
    await assert.rejects(each.pushStaged(model, "staged/outside"), (error) => {
      assert.ok(AssetdError.is(error, "INVALID_FIELD"), String(error));
      const { field, staged_path: path } = error.metadata;
      assert.deepEqual([field, path], ["header.staged_path", model]);
      return error.code === "INVALID_ARGUMENT";
    });
    await assert.rejects(each.pushStaged("job/../../../../x", "staged/outside"), (error) =>
      AssetdError.is(error, "SOURCE_NOT_ALLOWED"),
    );
    await assert.rejects(each.pushStaged("job/nothing", "staged/outside"), (error) =>
      AssetdError.is(error, "INVALID_FIELD"),
    );
  }
  assert.equal(await readFile((await client.fetch("staged/absolute")).path, "utf8"), "weights");
});

test("the daemon reads what a URI names, where its operator allows that", async () => {
  await cp(model, join(daemon.sources, "model"), { recursive: true });
  const pushed = await client.pushFrom(`file://${daemon.sources}/model`, "found/ranker:1");
  assert.deepEqual([pushed.version, pushed.kind, pushed.fileCount], ["1.0", "DIRECTORY", 3]);
  await assert.rejects(client.pushFrom(`file://${model}`, "found/ranker"), (error) => {
    assert.ok(AssetdError.is(error, "SOURCE_NOT_ALLOWED"), String(error));
    return error.code === "PERMISSION_DENIED";
  });
});

test("generated stubs work over the client's own connection, and their failures are read alike", async () => {
  const own = new Client({ address: daemon.address });
  const cache = createClient(CacheService, own.transport);
  const { assetsDir } = await cache.getCacheStatus({});
  assert.equal(assetsDir, daemon.assetsDir);
  const missing = await cache.pin({ spec: "nlp/ranker:9.9" }).catch((thrown: unknown) => thrown);
  const read = errorFrom(missing, own.address);
  assert.ok(AssetdError.is(read, "NOT_CACHED"), String(missing));
  assert.deepEqual([read.code, read.metadata], ["NOT_FOUND", { spec: "nlp/ranker:9.9" }]);
  assert.equal(errorFrom(read, own.address), read);
  own.close();
  await assert.rejects(cache.getCacheStatus({}), /this client is closed/);
  using nobody = new Client({ address: "unix:///nowhere/assetd.sock" });
  const call = createClient(CacheService, nobody.transport).getCacheStatus({});
  await assert.rejects(call, (thrown) => {
    const error = errorFrom(thrown, nobody.address);
    return error instanceof DaemonUnavailableError && error.message.includes(nobody.address);
  });
});

test("listings go through pages", async () => {
  for (const version of ["1.0", "1.1", "1.2"]) {
    await client.push(join(model, "config.json"), `list/a:${version}`);
  }
  await client.push(join(model, "config.json"), "list/b:1.0");
  const specs: string[] = [];
  const listing = client.list("list/", { pageSize: 1, full: true });
  for await (const entry of listing) {
    assert.deepEqual([entry.inStore, entry.cacheState.presence, entry.sizeBytes], [true, "ABSENT", 2]);
    specs.push(`${entry.name}:${entry.version}`);
  }
  assert.deepEqual(specs, ["list/a:1.2", "list/a:1.1", "list/a:1.0", "list/b:1.0"]);
  assert.deepEqual(listing.unreachable, []);
  const latest: string[] = [];
  for await (const { version } of client.list("list/", { latestOnly: true })) latest.push(version);
  assert.deepEqual(latest, ["1.2", "1.0"]);
  const files: [string, number | undefined][] = [];
  for await (const file of client.listFiles("nlp/ranker", { pageSize: 2 })) {
    files.push([file.path, file.sizeBytes]);
  }
  assert.deepEqual(files, [["config.json", 2], ["vocab/en.txt", 5], ["weights.bin", 3 << 20]]);
  const unknown = client.listFiles("no/such")[Symbol.asyncIterator]().next();
  await assert.rejects(unknown, (error) => AssetdError.is(error, "ASSET_NOT_FOUND"));
});

test("a hold outlives a daemon that drains and one that is killed, and ends with its scope", async () => {
  {
    await using held = await client.hold("nlp/ranker");
    assert.deepEqual(await holders(), ["tester nlp/ranker:0.0"]);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await daemon.stop(signal);
      assert.ok(held.isHeld);
      await daemon.start();
      while ((await holders()).length === 0) await new Promise((wake) => setTimeout(wake, 20));
      assert.deepEqual(await holders(), ["tester nlp/ranker:0.0"]);
    }
    const evicted = await cacheService().evict({
      selector: { selector: { case: "spec", value: "nlp/ranker:0.0" } },
    });
    assert.equal(evicted.freedBytes, 0n);
    assert.ok(existsSync(join(held.path, "config.json")));
  }
  while ((await holders()).length > 0) await new Promise((wake) => setTimeout(wake, 20));
});

test("a path of a daemon that has ASSETS_DIR elsewhere is that of this process", async () => {
  const here = await temporaryFolder();
  const elsewhere = new Client({ address: daemon.address, assetsDir: here });
  const asset = await elsewhere.fetch("nlp/ranker:0.0");
  // Visible as the daemon has it: that one wins.
  assert.equal(asset.path, join(daemon.assetsDir, asset.relativePath));
  elsewhere.close();
});

test("a client that was made before its daemon finds it, and one that was closed is told", async () => {
  await daemon.stop("SIGTERM");
  const early = new Client({ address: daemon.address, retry: { connectPatienceMs: 60_000 } });
  const [found] = await Promise.all([early.resolve("nlp/ranker"), daemon.start()]);
  assert.equal(found.version, "0.0");
  early.close();
  const connection = new Connection(parseAddress(daemon.address, false), DEFAULT_RETRY, REAL_SEAMS, undefined);
  connection.close();
  connection.close();
  await assert.rejects(connection.during({}, () => Promise.resolve()), /is closed/);
});

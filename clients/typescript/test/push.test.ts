import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { HandlerContext } from "@connectrpc/connect";

import { AssetdError, Client } from "../src/index.js";
import type { PushOptions, PushProgress } from "../src/index.js";
import { PushProgress_Phase as Phase } from "../src/gen/assetd/v1/asset_service_pb.js";
import type {
  PushHeader,
  PushRequest,
  PushResponseSchema,
} from "../src/gen/assetd/v1/asset_service_pb.js";
import { REAL_SEAMS } from "../src/retry.js";
import { daemonError, ScriptedDaemon, temporaryFolder } from "./daemon.js";

const seams = { ...REAL_SEAMS, jitter: () => 1, pause: () => Promise.resolve() };

type Event = NonNullable<MessageInitShape<typeof PushResponseSchema>["event"]>;
type Requests = AsyncIterable<PushRequest>;
type Script = (requests: AsyncIterator<PushRequest>, context: HandlerContext) => AsyncIterable<Event>;

const accepted: Event = { case: "accepted", value: { version: "1.3", versionFinal: true } };
const completed: Event = {
  case: "completed",
  value: { assetVersion: { name: "nlp/ranker", version: "1.3" } },
};

/** A daemon that plays one script a push, and the headers that it got. */
async function pushDaemon(...scripts: Script[]) {
  const headers: PushHeader[] = [];
  let open = 0;
  const daemon = await ScriptedDaemon.start([], {
    async *push(requests: Requests, context: HandlerContext) {
      open += 1;
      try {
        const iterator = requests[Symbol.asyncIterator]();
        headers.push(await take(iterator, "header"));
        for await (const event of scripts.shift()?.(iterator, context) ?? []) yield { event };
      } finally {
        open -= 1;
      }
    },
  });
  const client = new Client({ address: daemon.address }, seams);
  const quiet = async (): Promise<void> => {
    while (open > 0) await new Promise((wake) => setTimeout(wake, 5));
  };
  return { client, daemon, headers, quiet };
}

type Step = NonNullable<PushRequest["step"]["case"]>;
type Value<S extends Step> = Extract<PushRequest["step"], { case: S }>["value"];

/** Returns the next request, which has to be of this step. */
async function take<S extends Step>(requests: AsyncIterator<PushRequest>, step: S): Promise<Value<S>> {
  const result = await requests.next();
  assert.ok(result.done !== true, `the push ended before ${step}`);
  assert.equal(result.value.step.case, step);
  return result.value.step.value as Value<S>;
}

function wanted(...parts: { path: string; offset?: bigint }[]): Event {
  return { case: "wanted", value: { parts } };
}

const wholePush: Script = async function* (requests) {
  yield accepted;
  const { files } = await take(requests, "files");
  yield wanted(...files.map(({ path }) => ({ path })));
  for (let left = files.length; left > 0; left -= 1) await take(requests, "chunk");
  await take(requests, "commit");
  yield completed;
};

async function folder(files: Record<string, string>): Promise<string> {
  const root = join(await temporaryFolder(), "model");
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, ".."), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** How many files below the folder this process has open. */
async function openBelow(root: string): Promise<number> {
  const { readlink } = await import("node:fs/promises");
  const links = await readdir("/proc/self/fd");
  const targets = await Promise.all(links.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
  return targets.filter((target) => target.startsWith(root)).length;
}

test("a push takes turns: hash, header, files, what is wanted from where, commit", async () => {
  const chunks: [string, bigint, string][] = [];
  let commit = "";
  const { client, headers } = await pushDaemon(async function* (requests) {
    yield accepted;
    const { files } = await take(requests, "files");
    assert.deepEqual(files.map((f) => [f.path, f.sizeBytes, f.digest]), [
      ["B/c", 3n, `sha256:${sha256("ccc")}`],
      ["a", 4n, `sha256:${sha256("aaaa")}`],
    ]);
    yield wanted({ path: "a", offset: 1n });
    const chunk = await take(requests, "chunk");
    chunks.push([chunk.path, chunk.offset, Buffer.from(chunk.data).toString()]);
    yield { case: "progress", value: { phase: Phase.RECEIVING, receivedBytes: 3n, storedBytes: 2n } };
    commit = (await take(requests, "commit")).digest;
    yield completed;
  });
  const seen: PushProgress[] = [];
  const root = await folder({ a: "aaaa", "B/c": "ccc", "x.log": "no" });
  const pushed = await client.push(root, "nlp/ranker", {
    exclude: ["*.log"],
    labels: { git: "a1" },
    bump: "MAJOR",
    mode: "UPDATE",
    onProgress: (progress) => seen.push(progress),
  });
  const digest = `sha256:${sha256(`${sha256("ccc")}  B/c\n${sha256("aaaa")}  a\n`)}`;
  assert.deepEqual([headers[0]?.digest, commit], [digest, digest]);
  assert.deepEqual([headers[0]?.bump, headers[0]?.mode, headers[0]?.labels], [2, 2, { git: "a1" }]);
  assert.equal(pushed.pushId, headers[0]?.pushId);
  assert.deepEqual([pushed.version, pushed.alreadyExisted], ["1.3", false]);
  assert.deepEqual(chunks, [["a", 1n, "aaa"]]);
  const last = seen.filter(({ phase }) => phase === "SENDING").at(-1);
  assert.deepEqual([last?.doneBytes, last?.totalBytes], [7, 7]);
  client.close();
});

test("files are announced a thousand at a time, and all before the first chunk", async () => {
  const counts: number[] = [];
  const { client } = await pushDaemon(async function* (requests) {
    yield accepted;
    for (let batch = 0; batch < 2; batch += 1) {
      counts.push((await take(requests, "files")).files.length);
      yield wanted();
    }
    await take(requests, "commit");
    yield completed;
  });
  const names = Array.from({ length: 1001 }, (_, index) => [`f${index}`, ""]);
  await client.push(await folder(Object.fromEntries(names) as Record<string, string>), "nlp/ranker");
  assert.deepEqual(counts, [1000, 1]);
  client.close();
});

test("a push that is cut is continued under its id, also while the daemon takes it for alive", async () => {
  const { client, daemon, headers } = await pushDaemon(
    async function* (requests, { signal }) {
      yield accepted;
      await take(requests, "files");
      setImmediate(() => daemon.cut());
      await once(signal, "abort");
    },
    async function* () {
      yield* await Promise.resolve([]);
      throw daemonError(Code.Aborted, "PUSH_IN_PROGRESS");
    },
    wholePush,
  );
  const pushed = await client.push(await folder({ a: "a" }), "nlp/ranker");
  assert.equal(pushed.version, "1.3");
  assert.equal(new Set(headers.map(({ pushId }) => pushId)).size, 1);
  assert.equal(headers.length, 3);
  client.close();
});

for (const [name, pushId] of [
  ["somebody else's push is not waited for", "somebody"],
  ["a push that never began is nobody's own", ""],
] as const) {
  test(name, async () => {
    const { client } = await pushDaemon(async function* () {
      yield* await Promise.resolve([]);
      throw daemonError(Code.Aborted, "PUSH_IN_PROGRESS", pushId ? { push_id: pushId } : {});
    });
    const pushing = client.push(await folder({ a: "a" }), "nlp/ranker");
    await assert.rejects(pushing, (error) => AssetdError.is(error, "PUSH_IN_PROGRESS"));
    client.close();
  });
}

test("a status that comes while chunks are on their way is told, and no file stays open", async () => {
  const { client, quiet } = await pushDaemon(async function* (requests) {
    yield accepted;
    await take(requests, "files");
    yield wanted({ path: "big" });
    await take(requests, "chunk");
    throw daemonError(Code.ResourceExhausted, "DISK_FULL");
  });
  const root = await folder({});
  await mkdir(root);
  await writeFile(join(root, "big"), Buffer.alloc(40 << 20));
  const pushing = client.push(root, "nlp/ranker");
  await assert.rejects(pushing, (error) => AssetdError.is(error, "DISK_FULL"));
  assert.equal(await openBelow(root), 0);
  await quiet();
  client.close();
});

test("a source that changes after it was hashed ends the push without a commit", async () => {
  let rest: IteratorResult<PushRequest> | undefined;
  const root = await folder({ a: "a", b: "b" });
  const { client, quiet } = await pushDaemon(async function* (requests) {
    yield accepted;
    await take(requests, "files");
    await writeFile(join(root, "b"), "c");
    yield wanted({ path: "a" });
    await take(requests, "chunk");
    rest = await requests.next();
    throw daemonError(Code.Aborted, "PUSH_NOT_COMMITTED");
  });
  await assert.rejects(client.push(root, "nlp/ranker"), (error) => {
    assert.ok(AssetdError.is(error, "SOURCE_CHANGED"));
    return error.metadata["path"] === join(root, "b");
  });
  await quiet();
  assert.ok(rest === undefined || rest.done);
  client.close();
});

test("an aborted push leaves no call and no open file behind", async () => {
  const { client, quiet } = await pushDaemon(async function* (requests, { signal }) {
    yield accepted;
    await take(requests, "files");
    yield wanted({ path: "big" });
    await once(signal, "abort");
  });
  const root = await folder({});
  await mkdir(root);
  await writeFile(join(root, "big"), Buffer.alloc(40 << 20));
  const controller = new AbortController();
  const pushing = client.push(root, "nlp/ranker", {
    signal: controller.signal,
    onProgress: ({ phase }) => {
      if (phase === "SENDING") controller.abort();
    },
  });
  await assert.rejects(pushing, { name: "AbortError" });
  await quiet();
  assert.equal(await openBelow(root), 0);
  client.close();
});

test("what was not announced cannot be wanted, and what validates sends no byte", async () => {
  const { client, headers } = await pushDaemon(
    async function* (requests) {
      yield accepted;
      await take(requests, "files");
      yield wanted({ path: "other" });
      await requests.next();
    },
    async function* (requests) {
      yield accepted;
      await take(requests, "files");
      yield wanted({ path: "a" });
      await take(requests, "commit");
      yield completed;
    },
  );
  const root = await folder({ a: "a" });
  await assert.rejects(client.push(root, "x"), (error) => AssetdError.is(error, "INTERNAL"));
  await client.push(root, "x", { validateOnly: true });
  assert.equal(headers[1]?.validateOnly, true);
  client.close();
});

test("bytes that differ from what was announced are somebody's doing", async () => {
  const root = await folder({ a: "a" });
  const mismatch: Script = async function* () {
    yield* await Promise.resolve([accepted]);
    throw daemonError(Code.InvalidArgument, "PUSH_MISMATCH");
  };
  const { client } = await pushDaemon(mismatch, async function* () {
    yield accepted;
    await writeFile(join(root, "a"), "b");
    throw daemonError(Code.InvalidArgument, "PUSH_MISMATCH");
  });
  await assert.rejects(client.push(root, "x"), (error) => AssetdError.is(error, "PUSH_MISMATCH"));
  await assert.rejects(client.push(root, "x"), (error) => AssetdError.is(error, "SOURCE_CHANGED"));
  client.close();
});

test("an id that no push has is refused before anything is read", async () => {
  const { client, headers } = await pushDaemon();
  for (const pushId of ["", "1", "AE518EAF-3699-40AD-BCE6-E34E87C5DD31"]) {
    await assert.rejects(client.push("/nowhere", "x", { pushId }), (error) =>
      AssetdError.is(error, "INVALID_FIELD"),
    );
  }
  await assert.rejects(client.push("/nowhere", "x"), { code: "ENOENT" });
  assert.equal(headers.length, 0);
  client.close();
});

test("nothing can be excluded from what the daemon finds by itself", async () => {
  const { client, headers } = await pushDaemon(...[0, 1].map((): Script => async function* (requests) {
    yield accepted;
    await take(requests, "commit");
    yield completed;
  }));
  const pushes = [
    (options: PushOptions) => client.pushStaged("model", "x", options),
    (options: PushOptions) => client.pushFrom("s3://bucket/model", "x", options),
  ];
  for (const push of pushes) {
    await assert.rejects(push({ exclude: ["*.log"] }), (error) => {
      assert.ok(AssetdError.is(error, "INVALID_FIELD"), String(error));
      return error.code === "INVALID_ARGUMENT" && error.metadata["field"] === "exclude";
    });
    assert.equal((await push({ exclude: [] })).version, "1.3");
  }
  const { content: staged } = headers[0] ?? {};
  const { content: found } = headers[1] ?? {};
  assert.deepEqual(staged, { case: "stagedPath", value: "model" });
  assert.deepEqual(found, { case: "sourceUri", value: "s3://bucket/model" });
  client.close();
});

test("a stream that something on the way ends is no answer of the daemon", async () => {
  const { client } = await pushDaemon(async function* () {
    yield* await Promise.resolve([accepted]);
    throw new ConnectError("a proxy", Code.Internal);
  }, wholePush);
  assert.equal((await client.push(await folder({ a: "a" }), "x")).version, "1.3");
  client.close();
});

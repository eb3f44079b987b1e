import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";

import { Code } from "@connectrpc/connect";

import {
  completed,
  Daemon,
  daemonError,
  PACKAGE,
  play,
  playAndWait,
  progressed,
  ScriptedDaemon,
  started,
  temporaryFolder,
} from "./daemon.js";

type Line = Record<string, unknown>;

/** The runner of the conformance suite, spoken to in its lines. */
function startRunner(address: string) {
  const runner = spawn("node", [join(PACKAGE, "build/conformance/runner.js")], {
    env: { PATH: process.env["PATH"], ASSETD_ADDRESS: address },
    stdio: ["pipe", "pipe", "inherit"],
  });
  // Ended here too, else a test that fails would wait for it for ever.
  after(() => runner.kill("SIGKILL"));
  const lines = createInterface({ input: runner.stdout })[Symbol.asyncIterator]();
  const read = async (): Promise<Line> => {
    const line = await lines.next();
    assert.ok(line.done !== true, "the runner ended");
    return JSON.parse(line.value) as Line;
  };
  const exit = once(runner, "exit");
  return {
    read,
    send: (request: Line) => runner.stdin.write(`${JSON.stringify(request)}\n`),
    end: () => runner.stdin.end(),
    exitCode: async () => ((await exit) as [number | null])[0],
    /** The next line that is no progress. */
    answer: async (): Promise<Line> => {
      for (;;) {
        const line = await read();
        if (!("progress" in line)) return line;
      }
    },
  };
}

test("the runner does each action and tells each answer, error and entry", async () => {
  const daemon = await Daemon.start();
  const runner = startRunner(daemon.address);
  assert.deepEqual(await runner.read(), { ready: { language: "typescript", fast_path: false } });
  const source = join(await temporaryFolder(), "config.json");
  await writeFile(source, "{}");
  runner.send({ id: "p", do: "push", source, spec: "nlp/config:1.0", labels: { a: "b" } });
  const first = (await runner.read()) as { progress: Line };
  assert.deepEqual(first.progress, { phase: "HASHING", received_bytes: 0, stored_bytes: 0, total_bytes: 2 });
  const pushed = (await runner.answer()) as { id: string; answer: Line };
  assert.deepEqual([pushed.id, pushed.answer["version"]], ["p", "1.0"]);
  assert.equal(pushed.answer["already_existed"], false);

  runner.send({ id: "r", do: "resolve", spec: "nlp/config" });
  assert.equal(((await runner.answer()) as { answer: Line }).answer["presence"], "ABSENT");
  runner.send({ id: "f", do: "fetch", spec: "nlp/config", timeout: 60 });
  const { answer } = (await runner.answer()) as { answer: Line };
  assert.deepEqual([answer["name"], answer["kind"], answer["size_bytes"]], ["nlp/config", "FILE", 2]);
  assert.equal(answer["path"], join(daemon.assetsDir, "nlp/config/1.0"));

  runner.send({ id: "n", do: "fetch", spec: "no/such" });
  const missing = (await runner.answer()) as { error: Line };
  assert.deepEqual([missing.error["reason"], missing.error["code"]], ["ASSET_NOT_FOUND", "NOT_FOUND"]);
  runner.send({ id: "t", do: "fetch", spec: "nlp/config", timeout: 0 });
  assert.equal(((await runner.answer()) as { error: Line }).error["reason"], "DEADLINE_EXCEEDED");

  runner.send({ id: "l", do: "list", prefix: "nlp/" });
  const listed = { spec: "nlp/config:1.0", presence: "PRESENT", in_store: true };
  // Read from the index alone, which says no more.
  const entry = { ...listed, size_bytes: null, digest: "" };
  assert.deepEqual(await runner.answer(), { id: "l", entry });
  assert.deepEqual(await runner.answer(), { id: "l", answer: { count: 1 } });
  for (const listing of [{ do: "list" }, { do: "list_files", spec: "nlp/config" }]) {
    runner.send({ id: "late", ...listing, timeout: 0 });
    const late = (await runner.answer()) as { error: Line };
    assert.equal(late.error["reason"], "DEADLINE_EXCEEDED");
  }
  runner.send({ id: "m", do: "list_files", spec: "nlp/config" });
  assert.deepEqual(((await runner.answer()) as { entry: Line }).entry["size_bytes"], 2);
  await runner.answer();

  runner.send({ id: "h", do: "hold", spec: "nlp/config:1.0" });
  assert.equal((await runner.answer())["id"], "h");
  runner.send({ do: "release", of: "h" });
  runner.send({ id: "g", do: "hold", spec: "nlp/config:1.0" });
  assert.equal((await runner.answer())["id"], "g");
  runner.send({ do: "cancel", of: "g" });
  const cancelled = (await runner.answer()) as { id: string; error: Line };
  assert.deepEqual([cancelled.id, cancelled.error["reason"]], ["g", "CANCELLED"]);
  runner.send({ do: "close" });
  assert.equal(await runner.exitCode(), 0);
});

test("the end of standard input ends the runner", async () => {
  const runner = startRunner("unix:///nowhere/assetd.sock");
  await runner.read();
  runner.end();
  assert.equal(await runner.exitCode(), 0);
});

test("the runner tells of a hold that is lost, and of progress; a fetch can be cancelled", async () => {
  const gone = daemonError(Code.NotFound, "VERSION_NOT_FOUND", { version: "1.2" });
  const daemon = await ScriptedDaemon.start([
    play([started(), completed()], daemonError(Code.Unavailable, "SHUTTING_DOWN")),
    play([], gone),
    playAndWait(started(), progressed(40)),
  ]);
  const runner = startRunner(daemon.address);
  await runner.read();
  runner.send({ id: "h", do: "hold", spec: "nlp/ranker" });
  assert.equal((await runner.read())["id"], "h");
  const metadata = { version: "1.2" };
  const error = { reason: "VERSION_NOT_FOUND", code: "NOT_FOUND", message: "said VERSION_NOT_FOUND" };
  assert.deepEqual(await runner.read(), { id: "h", lost: { ...error, metadata } });
  runner.send({ id: "f", do: "fetch", spec: "nlp/ranker" });
  const { progress } = (await runner.read()) as { progress: Line };
  assert.deepEqual([progress["present_bytes"], progress["total_bytes"]], [40, 100]);
  runner.send({ do: "cancel", of: "f" });
  assert.equal(((await runner.read()) as { error: Line }).error["reason"], "CANCELLED");
  await daemon.quiet();
  runner.end();
  assert.equal(await runner.exitCode(), 0);
});

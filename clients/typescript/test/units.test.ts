import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { link, mkdir, rename, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";

import { ConnectError, Code } from "@connectrpc/connect";

import { findAddress, findAssetsDir, parseAddress } from "../src/address.js";
import { AssetdError, CallTimeoutError, CODES, DaemonUnavailableError } from "../src/errors.js";
import { errorFrom } from "../src/failure.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { Globs } from "../src/globs.js";
import { Listing } from "../src/list.js";
import { DEFAULT_RETRY, delayMs, endless, passing } from "../src/retry.js";
import { listSource } from "../src/source.js";
import { Watch } from "../src/watchdog.js";
import { temporaryFolder } from "./daemon.js";

const SOCKET = parseAddress("unix:///run/a.sock", false);

test("addresses are sockets, or hosts of this node unless TLS protects what is said", () => {
  assert.deepEqual(SOCKET, {
    target: "unix:///run/a.sock",
    baseUrl: "http://localhost",
    socketPath: "/run/a.sock",
  });
  for (const text of ["127.0.0.1:7070", "localhost:80", "[::1]:7", "tcp://127.9.9.9:1"]) {
    assert.equal(parseAddress(text, false).baseUrl, `http://${text.replace("tcp://", "")}`);
  }
  assert.equal(parseAddress("assets.example:7070", true).baseUrl, "https://assets.example:7070");
  const none = ["", "127.0.0.1", "10.0.0.1:7070", "127.0.0.1.example:1", "unix:relative", "unix:///"];
  const alsoNone = ["user@localhost:1", "localhost:1/x", "localhost:99999", `unix:///${"x".repeat(107)}`];
  for (const text of [...none, ...alsoNone]) {
    assert.throws(() => parseAddress(text, false), TypeError, text);
  }
});

test("the address is the given one, the environment's, or that of a daemon of this user", () => {
  const environment = { ASSETD_ADDRESS: "unix:///e", XDG_RUNTIME_DIR: "/run/user/7", ASSETD_PORT: "x" };
  assert.equal(findAddress("unix:///g", false, environment, 7).target, "unix:///g");
  assert.equal(findAddress(undefined, false, environment, 7).target, "unix:///e");
  const { XDG_RUNTIME_DIR } = environment;
  const own = findAddress(undefined, false, { XDG_RUNTIME_DIR }, 7);
  assert.equal(own.target, "unix:///run/user/7/assetd/assetd.sock");
  assert.equal(findAddress("", false, {}, 0).target, "unix:///run/assetd/assetd.sock");
  assert.throws(() => findAddress(undefined, false, {}, 7), /XDG_RUNTIME_DIR is not set/);
  assert.equal(findAssetsDir(undefined, { ASSETS_DIR: "", MODELKIT_ASSETS_DIR: "/m" }), "/m");
  assert.equal(findAssetsDir("", { ASSETS_DIR: "/a" }), undefined);
  assert.equal(findAssetsDir("here/models/", {}), join(process.cwd(), "here/models"));
  assert.equal(findAssetsDir(undefined, { ASSETS_DIR: "models" }), join(process.cwd(), "models"));
});

test("globs are those of the contract", () => {
  const cases: [string, string, boolean][] = [
    ["*.json", "a.json", true],
    ["*.json", "b/a.json", false],
    ["**/*.json", "a.json", true],
    ["**/*.json", "b/c/a.json", true],
    ["b/**", "b/c/a", true],
    ["b/**", "b", false],
    ["b/*", "b/c/a", false],
    ["?.t", "é.t", true],
    ["?.t", "😀.t", true],
    ["[a].t", "[a].t", true],
    ["[a].t", "a.t", false],
    ["a*b*c", "axxbyyc", true],
    ["a*b*c", "axxbyy", false],
    ["**", "a/b", true],
    ["a/**/b", "a/b", true],
    ["A", "a", false],
  ];
  for (const [glob, path, expected] of cases) {
    assert.equal(new Globs([glob]).match(path), expected, `${glob} ${path}`);
  }
  assert.ok(!new Globs().match("a"));
  assert.ok(new Globs(["a/**"]).matchAllBelow("a"));
  assert.ok(new Globs(["a/**"]).matchAllBelow("a/b"));
  assert.ok(!new Globs(["a/*"]).matchAllBelow("a"));
  // One expression for all of it would take for ever.
  assert.ok(!new Globs([`${"a*".repeat(40)}b`]).match("a".repeat(200)));
  for (const glob of ["a/", "/a", "", "a//b"]) {
    assert.throws(() => new Globs([glob]), (error) => AssetdError.is(error, "INVALID_FIELD"));
  }
});

test("a source is what it was when it was listed, in bytewise order", async () => {
  const root = await temporaryFolder();
  await mkdir(join(root, "b"));
  for (const path of ["b/z", "b.x", "é", "😀", "\uffee"]) await writeFile(join(root, path), path);
  const source = await listSource(root);
  const names = source.files.map(({ path }) => path);
  assert.deepEqual(names, ["b.x", "b/z", "é", "\uffee", "😀"]);
  await source.checkUnchanged();
  const [file] = source.files;
  assert.ok(file !== undefined);
  const read = async (): Promise<string> => {
    const parts: Buffer[] = [];
    for await (const part of source.read(file, 1)) parts.push(part);
    return Buffer.concat(parts).toString();
  };
  assert.equal(await read(), ".x");
  const isChanged = (error: unknown): boolean => AssetdError.is(error, "SOURCE_CHANGED");
  await writeFile(join(root, "new"), "");
  await assert.rejects(source.checkUnchanged(), isChanged);
  await rename(join(root, "new"), join(root, "b.x"));
  await assert.rejects(read(), isChanged);
  await truncate(join(root, "b/z"), 0);
  await assert.rejects(source.checkUnchanged(), isChanged);
});

test("what no asset can hold is refused before it is opened, unless it is excluded", async () => {
  const kinds: [string, string, (path: string, root: string) => unknown][] = [
    ["UNSUPPORTED_FILE", "a symlink", (path, root) => symlink(join(root, "plain"), path)],
    ["UNSUPPORTED_FILE", "a FIFO", (path) => execFileSync("mkfifo", [path])],
    ["UNSUPPORTED_FILE", "a hard link", (path, root) => link(join(root, "..", "other"), path)],
    ["INVALID_PART", "is an empty folder", (path) => mkdir(path)],
    ["INVALID_PART", "not UTF-8", (path) => writeFile(Buffer.concat([Buffer.from(path), Buffer.of(0xff)]), "")],
    ["UNSUPPORTED_FILE", "a socket", (path) => new Promise<void>((done) => {
      const server = createServer().listen(path, done).unref();
      return server;
    })],
  ];
  for (const [reason, words, make] of kinds) {
    const root = join(await temporaryFolder(), "s");
    await mkdir(root);
    await writeFile(join(root, "..", "other"), "");
    await writeFile(join(root, "plain"), "");
    await make(join(root, "odd"), root);
    await assert.rejects(listSource(root), (error) => {
      assert.ok(error instanceof AssetdError, String(error));
      assert.match(error.message, new RegExp(words));
      return error.reason === reason;
    });
    const left = await listSource(root, new Globs(["odd*", "odd/**"]));
    assert.deepEqual(left.files.map(({ path }) => path), ["plain"]);
  }
  const root = await temporaryFolder();
  await writeFile(join(root, "a"), "");
  const only = listSource(root, new Globs(["a"]));
  await assert.rejects(only, (error) => AssetdError.is(error, "INVALID_PART"));
  const globbed = listSource(join(root, "a"), new Globs(["a"]));
  await assert.rejects(globbed, (error) => AssetdError.is(error, "INVALID_FIELD"));
});

test("slashes at the end of a source's path say nothing", async () => {
  const root = await temporaryFolder();
  await mkdir(join(root, "folder"));
  await writeFile(join(root, "folder/a"), "");
  await symlink(join(root, "folder"), join(root, "link"));
  for (const slashes of ["", "/", "///"]) {
    const source = await listSource(join(root, "folder") + slashes);
    assert.deepEqual([source.root, source.files.length], [join(root, "folder"), 1]);
    await assert.rejects(listSource(join(root, "link") + slashes), (error) => {
      assert.ok(AssetdError.is(error, "UNSUPPORTED_FILE"), String(error));
      return error.metadata["path"] === join(root, "link") && error.metadata["kind"] === "a symlink";
    });
  }
  // The root itself stays what it is; nothing of it is looked at here.
  await assert.rejects(listSource("//", new Globs(["**"])), (error: Error) => {
    return error.message.startsWith("/ has no file that is not excluded");
  });
});

test("failures of the transport are read in the words of the contract", () => {
  const trailers = (values: Record<string, string>) => new Headers({ "grpc-status": "1", ...values });
  const reason = (code: Code, values: Record<string, string>) =>
    errorFrom(new ConnectError("m", code, trailers(values)), SOCKET.target);
  assert.equal(reason(Code.NotFound, { "assetd-reason": "NOT_CACHED" }).reason, "NOT_CACHED");
  assert.equal(reason(Code.NotFound, {}).code, "NOT_FOUND");
  for (const code of [Code.Unavailable, Code.Canceled]) {
    assert.ok(reason(code, {}) instanceof DaemonUnavailableError);
  }
  assert.ok(reason(Code.DeadlineExceeded, {}) instanceof CallTimeoutError);
  assert.ok(!(reason(Code.Internal, {}) instanceof DaemonUnavailableError));
  const newer = reason(Code.Unavailable, { "assetd-reason": "FROM_TOMORROW" });
  assert.deepEqual([newer.reason, newer.code], ["FROM_TOMORROW", "UNAVAILABLE"]);
  assert.ok(!(newer instanceof DaemonUnavailableError));
  const stranger = { desc: ErrorInfoSchema, value: { reason: "X", domain: "proxy.example" } };
  const foreign = new ConnectError("m", Code.NotFound, trailers({}), [stranger]);
  assert.equal(errorFrom(foreign, SOCKET.target).reason, "");
  const unreadable = new ConnectError("parse binary: premature EOF", Code.Internal);
  assert.equal(errorFrom(unreadable, SOCKET.target).code, "INTERNAL");
  assert.deepEqual(CODES.map((_, code) => code).filter((code) => code in Code).length, 16);
});

test("an error is narrowed by reasons of the contract, and by no others", () => {
  const error: unknown = new AssetdError("m", { code: "NOT_FOUND", reason: "NOT_CACHED" });
  assert.ok(AssetdError.is(error, "ASSET_NOT_FOUND", "NOT_CACHED"));
  const narrowed: "ASSET_NOT_FOUND" | "NOT_CACHED" = error.reason;
  assert.equal(narrowed, "NOT_CACHED");
  // @ts-expect-error: a misspelt reason does not compile.
  assert.ok(!AssetdError.is(error, "NOT_CASHED"));
  assert.ok(!AssetdError.is(new TypeError("NOT_CACHED"), "NOT_CACHED"));
});

test("pauses double to their limit, half of them by chance", () => {
  const pauses = [1, 2, 3, 9, 2000].map((failures) => delayMs(DEFAULT_RETRY, failures, 1));
  assert.deepEqual(pauses, [100, 200, 400, 2000, 2000]);
  assert.equal(delayMs(DEFAULT_RETRY, 1, 0), 50);
  assert.equal(endless(DEFAULT_RETRY).patienceMs, Infinity);
});

test("a hold passes over what a later call may change", () => {
  const error = (code: (typeof CODES)[number], reason = "") =>
    passing(new AssetdError("m", { code, reason, retryAfterMs: 7 }));
  assert.equal(error("NOT_FOUND", "VERSION_NOT_FOUND").code, "NOT_FOUND");
  for (const passed of [error("RESOURCE_EXHAUSTED", "CACHE_FULL"), error("INTERNAL")]) {
    assert.deepEqual([passed.code, passed.retryAfterMs], ["UNAVAILABLE", 7]);
  }
});

test("a watch gives up once, for silence only, and never after its end", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let given = 0;
  const watch = new Watch(1000, () => (given += 1));
  context.mock.timers.tick(999);
  watch.heard();
  context.mock.timers.tick(1100);
  // In its grace: what arrived while the program computed is read now.
  watch.heard();
  context.mock.timers.tick(1100);
  assert.deepEqual([given, watch.hasStalled], [0, false]);
  context.mock.timers.tick(300);
  assert.deepEqual([given, watch.hasStalled], [1, true]);
  const stopped = new Watch(10, () => (given += 1));
  stopped.stop();
  new Watch(Infinity, () => (given += 1)).heard();
  context.mock.timers.tick(1e6);
  assert.equal(given, 1);
});

test("a listing asks for a page when it is wanted, and each loop begins anew", async () => {
  const asked: string[] = [];
  const listing = new Listing((pageToken: string) => {
    asked.push(pageToken);
    const at = Number(pageToken);
    const nextPageToken = at < 2 ? String(at + 1) : "";
    return Promise.resolve({ entries: at === 1 ? [] : [at], nextPageToken, unreachable: ["STORE"] as const });
  });
  assert.deepEqual([asked, listing.unreachable], [[], []]);
  for await (const entry of listing) {
    assert.equal(entry, 0);
    break;
  }
  assert.deepEqual([asked, listing.unreachable], [[""], ["STORE"]]);
  const all: number[] = [];
  for await (const entry of listing) all.push(entry);
  assert.deepEqual([all, asked], [[0, 2], ["", "", "1", "2"]]);
});

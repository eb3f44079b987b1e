/**
 * What is about to be pushed: listed, and read as it was listed, without following a link.
 *
 * Knows nothing of gRPC. What is no plain file is refused before it is opened, since opening a FIFO
 * or a device does things. Node cannot open beneath a folder's descriptor: should a folder be
 * replaced meanwhile, the inodes tell.
 */
import { constants } from "node:fs";
import type { BigIntStats, Dirent } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";

import { AssetdError, invalidField } from "./errors.js";
import { Globs } from "./globs.js";

/** How much is read at a time, and the most that a chunk of a push may carry. */
export const READ_BYTES = 1 << 20;
// The store's limit for a key: a path beyond it is refused anyway, and it bounds the recursion.
const MAX_PATH_BYTES = 1024;
// O_NONBLOCK: should a FIFO take the file's place between look and open, the open does not hang.
const OPEN_FILE =
  constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/** One file to push. `path` is inside the asset, and empty for a file asset. */
export interface SourceFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Inode, size and times as they were. */
  readonly state: string;
}

/** A file or a folder as it was when it was listed, in bytewise order of the paths. */
export class Source {
  constructor(
    readonly root: string,
    readonly isDirectory: boolean,
    readonly files: readonly SourceFile[],
    private readonly exclude: Globs,
  ) {}

  /** The sizes of all files added up. */
  get totalBytes(): number {
    return this.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  }

  /**
   * Lists again and compares: names, inodes, sizes and times.
   *
   * @throws AssetdError `SOURCE_CHANGED` if something is not as it was.
   */
  async checkUnchanged(): Promise<void> {
    let now: Source;
    try {
      now = await listSource(this.root, this.exclude);
    } catch {
      throw changed(this.root);
    }
    const before = new Map(this.files.map((file) => [file.path, file.state]));
    const differing = now.files.find((file) => before.get(file.path) !== file.state);
    if (differing !== undefined) throw changed(join(this.root, differing.path));
    if (now.files.length !== this.files.length) throw changed(this.root);
  }

  /**
   * Gives the file's bytes from `offset` on, at most `READ_BYTES` at a time, each in memory of its
   * own unless a `buffer` of that size is given to be used again.
   *
   * @throws AssetdError `SOURCE_CHANGED` if the file is not, or while it was read did not stay, what
   *   was listed.
   */
  async *read(file: SourceFile, offset = 0, buffer?: Buffer): AsyncGenerator<Buffer, void> {
    const path = join(this.root, file.path);
    const handle = await openFile(path);
    try {
      await compare(handle, file, path);
      for (let at = offset; at < file.sizeBytes; ) {
        const length = Math.min(READ_BYTES, file.sizeBytes - at);
        const target = buffer ?? Buffer.allocUnsafeSlow(length);
        const { bytesRead } = await handle.read(target, 0, length, at);
        if (bytesRead === 0) throw changed(path);
        at += bytesRead;
        yield target.subarray(0, bytesRead);
      }
      await compare(handle, file, path);
    } finally {
      await handle.close();
    }
  }
}

/**
 * Looks at every file of a file or folder, opening none, and at nothing that is excluded. A slash at
 * the end of `path` says nothing: `link/` is the link.
 *
 * @throws AssetdError `UNSUPPORTED_FILE` for a symlink, hard link, device, FIFO or socket;
 *   `INVALID_PART` for an empty folder, a name that is not UTF-8 or too long, or if nothing is left;
 *   `INVALID_FIELD` for globs, if `path` is that of a file.
 * @throws Error of Node if `path` does not exist or cannot be read.
 */
export async function listSource(path: string, exclude: Globs = new Globs()): Promise<Source> {
  // With the slash, the system would follow a link that the push has to refuse.
  const root = path.replace(/(?<=.)\/+$/s, "");
  const status = await lstat(root, { bigint: true });
  if (!status.isDirectory()) {
    if (!exclude.isEmpty) throw invalidField(`${root} is a file: exclude is for folders`, "exclude");
    return new Source(root, false, [plainFile(root, "", status)], exclude);
  }
  const files: SourceFile[] = [];
  for await (const file of walk(root, exclude, "")) files.push(file);
  if (files.length === 0) throw invalidPart(root, "has no file that is not excluded");
  const keys = new Map(files.map((file) => [file, Buffer.from(file.path)]));
  files.sort((a, b) => Buffer.compare(keys.get(a) as Buffer, keys.get(b) as Buffer));
  return new Source(root, true, files, exclude);
}

async function* walk(root: string, exclude: Globs, prefix: string): AsyncGenerator<SourceFile> {
  for (const name of await names(root, exclude, prefix)) {
    const path = prefix + name;
    const full = join(root, path);
    if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
      throw invalidPart(full, `has a path of more than ${MAX_PATH_BYTES} bytes`);
    }
    const status = await lstat(full, { bigint: true });
    if (status.isDirectory()) yield* walk(root, exclude, `${path}/`);
    else yield plainFile(full, path, status);
  }
}

/** Returns what is in a folder and not excluded; its kind is known without a look at it. */
async function names(root: string, exclude: Globs, prefix: string): Promise<string[]> {
  const folder = join(root, prefix);
  // As bytes: decoded by Node, a name that is not UTF-8 would become that of another file.
  const entries = await readdir(folder, { encoding: "buffer", withFileTypes: true });
  // The store keeps files only: the folder would silently be missing in the version.
  if (entries.length === 0) throw invalidPart(folder, "is an empty folder");
  return entries
    .filter((entry) => !isExcluded(exclude, prefix, entry))
    .map((entry) => decoded(folder, entry.name));
}

function isExcluded(exclude: Globs, prefix: string, entry: Dirent<Buffer>): boolean {
  if (exclude.isEmpty) return false;
  const path = prefix + entry.name.toString();
  return entry.isDirectory() ? exclude.matchAllBelow(path) : exclude.match(path);
}

function decoded(folder: string, name: Buffer): string {
  try {
    // Without `ignoreBOM` a name could lose its first character.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(name);
  } catch {
    throw invalidPart(join(folder, name.toString()), "has a name that is not UTF-8");
  }
}

function plainFile(full: string, path: string, status: BigIntStats): SourceFile {
  if (!status.isFile()) throw unsupported(full, kindOf(status));
  if (status.nlink > 1n) throw unsupported(full, "a hard link");
  return { path, sizeBytes: Number(status.size), state: stateOf(status) };
}

function kindOf(status: BigIntStats): string {
  if (status.isSymbolicLink()) return "a symlink";
  if (status.isFIFO()) return "a FIFO";
  if (status.isSocket()) return "a socket";
  return status.isBlockDevice() || status.isCharacterDevice() ? "a device" : "no plain file";
}

function stateOf(status: BigIntStats): string {
  // Not even somebody who sets the file's times can set the last one.
  const { dev, ino, size, mtimeNs, ctimeNs } = status;
  return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, OPEN_FILE);
  } catch {
    throw changed(path);
  }
}

async function compare(handle: FileHandle, file: SourceFile, path: string): Promise<void> {
  if (stateOf(await handle.stat({ bigint: true })) !== file.state) throw changed(path);
}

function changed(path: string): AssetdError {
  return new AssetdError(
    `${path} changed while it was being pushed: push again once nobody writes to it`,
    { reason: "SOURCE_CHANGED", code: "ABORTED", metadata: { path } },
  );
}

function invalidPart(path: string, why: string): AssetdError {
  return new AssetdError(`${path} ${why}, which no asset can hold`, {
    reason: "INVALID_PART",
    code: "INVALID_ARGUMENT",
    metadata: { path },
  });
}

function unsupported(path: string, kind: string): AssetdError {
  return new AssetdError(
    `${path} is ${kind}: a push takes plain files and folders; put a copy in its place`,
    { reason: "UNSUPPORTED_FILE", code: "FAILED_PRECONDITION", metadata: { path, kind } },
  );
}

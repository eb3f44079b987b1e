/** What a push is of: its digests, and the requests of the client's turns. Sends none. */
import { createHash } from "node:crypto";

import type { MessageInitShape } from "@bufbuild/protobuf";

import { internalError } from "./errors.js";
import type { PushRequestSchema, PushWanted_Part } from "./gen/assetd/v1/asset_service_pb.js";
import { READ_BYTES } from "./source.js";
import type { Source, SourceFile } from "./source.js";

/** A message of a push, as the stub takes it. */
export type PushMessage = MessageInitShape<typeof PushRequestSchema>;

const FILES_PER_MESSAGE = 1000;

/** What a source hashes to: the whole, and each file by its path. */
export interface Digests {
  readonly digest: string;
  readonly files: ReadonlyMap<string, string>;
}

/**
 * Reads everything once, a MiB at a time, so that the event loop gets its turns; `onHashed` gets the
 * bytes hashed so far, and what it throws ends the hashing.
 *
 * @throws AssetdError `SOURCE_CHANGED` if a file is not, or did not stay, what was listed.
 */
export async function hashSource(
  source: Source,
  onHashed: (hashedBytes: number) => void,
): Promise<Digests> {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const files = new Map<string, string>();
  const lines = createHash("sha256");
  let hashedBytes = 0;
  for (const file of source.files) {
    const hash = createHash("sha256");
    for await (const data of source.read(file, 0, buffer)) {
      hash.update(data);
      hashedBytes += data.length;
      onHashed(hashedBytes);
    }
    const hex = hash.digest("hex");
    files.set(file.path, `sha256:${hex}`);
    // As `sha256sum` prints it, so that anyone can compute the digest of a folder.
    lines.update(`${hex}  ${file.path}\n`);
  }
  onHashed(hashedBytes);
  const digest = source.isDirectory ? `sha256:${lines.digest("hex")}` : (files.get("") as string);
  return { digest, files };
}

/** What a push is of, as the two sides take turns about it. */
export interface PushContent {
  /** Gives all files, at most 1,000 a message. */
  batches(): Generator<PushMessage, undefined>;
  /**
   * Returns how much travels if that is wanted; undefined where nothing ever does.
   *
   * @throws AssetdError `INTERNAL` if something is wanted that was not announced.
   */
  lackingBytes(wanted: readonly PushWanted_Part[]): number | undefined;
  /**
   * Gives the chunks of what is wanted, read as they are taken, and the commit.
   *
   * @throws AssetdError `SOURCE_CHANGED` if the source is not what was hashed.
   */
  lastTurn(wanted: readonly PushWanted_Part[]): AsyncIterable<PushMessage> | Iterable<PushMessage>;
  /** @throws AssetdError `SOURCE_CHANGED` if the source differs from what was hashed. */
  checkUnchanged(): Promise<void>;
}

/** What the daemon finds by itself: nothing is announced, and nothing travels but the commit. */
export const FOUND_BY_THE_DAEMON: PushContent = {
  *batches() {
    return undefined;
  },
  lackingBytes: () => undefined,
  lastTurn: () => [{ step: { case: "commit", value: {} } }],
  checkUnchanged: () => Promise.resolve(),
};

/** A source that was hashed; without `isSent` it is announced, and no byte of it travels. */
export class Content implements PushContent {
  readonly #files: ReadonlyMap<string, SourceFile>;

  constructor(
    private readonly source: Source,
    private readonly digests: Digests,
    private readonly isSent: boolean,
  ) {
    this.#files = new Map(source.files.map((file) => [file.path, file]));
  }

  *batches(): Generator<PushMessage, undefined> {
    const { files } = this.source;
    for (let start = 0; start < files.length; start += FILES_PER_MESSAGE) {
      const batch = files.slice(start, start + FILES_PER_MESSAGE).map((file) => ({
        path: file.path,
        sizeBytes: BigInt(file.sizeBytes),
        digest: this.digests.files.get(file.path) as string,
      }));
      yield { step: { case: "files", value: { files: batch } } };
    }
    return undefined;
  }

  lackingBytes(wanted: readonly PushWanted_Part[]): number | undefined {
    if (!this.isSent) return undefined;
    return wanted.reduce(
      (sum, part) => sum + this.#announced(part).sizeBytes - Number(part.offset),
      0,
    );
  }

  async *lastTurn(wanted: readonly PushWanted_Part[]): AsyncGenerator<PushMessage, void> {
    for (const part of this.isSent ? wanted : []) {
      let offset = part.offset;
      for await (const data of this.source.read(this.#announced(part), Number(offset))) {
        yield { step: { case: "chunk", value: { path: part.path, offset, data } } };
        offset += BigInt(data.length);
      }
    }
    await this.source.checkUnchanged();
    yield { step: { case: "commit", value: { digest: this.digests.digest } } };
  }

  async checkUnchanged(): Promise<void> {
    await this.source.checkUnchanged();
  }

  #announced(part: PushWanted_Part): SourceFile {
    const file = this.#files.get(part.path);
    if (file === undefined) {
      throw internalError(`the daemon wants ${JSON.stringify(part.path)}, which was not announced`);
    }
    return file;
  }
}

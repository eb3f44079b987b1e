/** The course of a fetch, whatever streams bring its events: the rules without the I/O. */
import { clone } from "@bufbuild/protobuf";

import { fetchProgress } from "./convert.js";
import type { FetchProgress } from "./asset.js";
import { internalError } from "./errors.js";
import type { AssetdError } from "./errors.js";
import type { AssetVersion, FetchProgress as WireProgress } from "./gen/assetd/v1/asset_pb.js";
import { FetchRequestSchema } from "./gen/assetd/v1/asset_service_pb.js";
import type {
  FetchCompleted,
  FetchRequest,
  FetchResponse,
  FetchStarted,
} from "./gen/assetd/v1/asset_service_pb.js";

/** How a fetch went. `request` asks for the same again, for exactly this version. */
export interface Fetched {
  readonly request: FetchRequest;
  readonly started: FetchStarted;
  readonly completed: FetchCompleted;
}

/** Gets the progress of a fetch; what it throws ends the fetch. */
export type OnFetchProgress = (progress: FetchProgress) => void;

type Figures = Pick<WireProgress, "attempt" | "presentBytes" | "presentFiles">;
type Totals = Pick<FetchProgress, "totalBytes" | "totalFiles">;

/**
 * Numbers the attempts of one fetch, over all its streams: the attempt never falls, and rises where
 * another daemon's figures are lower.
 *
 * A daemon promises figures that never fall within one attempt, and one that breaks it is not
 * believed any further. A helper that joins again after a cut may meet another daemon, which counts
 * from what it finds: only the helper can put the two together.
 */
export class Attempts {
  #last: Figures = { attempt: 0, presentBytes: 0n, presentFiles: 0 };
  // The daemon's own number; undefined when the stream has told nothing yet.
  #attemptOfStream: number | undefined;
  #earlier = 0;

  /** Notes that what comes next is of another stream. */
  beginStream(): void {
    this.#attemptOfStream = undefined;
  }

  /**
   * Returns the attempt that this progress has in the whole fetch.
   *
   * @throws AssetdError `INTERNAL` if figures fell on one stream, though the attempt did not rise.
   */
  number(progress: WireProgress): number {
    const fell = hasFallen(this.#last, progress);
    const before = this.#attemptOfStream;
    if (fell && before !== undefined && progress.attempt <= before) {
      throw brokenPromise(this.#last, progress);
    }
    this.#attemptOfStream = progress.attempt;
    let attempt = progress.attempt + this.#earlier;
    if (attempt <= this.#last.attempt) {
      attempt = this.#last.attempt + (fell ? 1 : 0);
      this.#earlier = attempt - progress.attempt;
    }
    const { presentBytes, presentFiles } = progress;
    this.#last = { attempt, presentBytes, presentFiles };
    return attempt;
  }
}

function hasFallen(before: Figures, now: Figures): boolean {
  return now.presentBytes < before.presentBytes || now.presentFiles < before.presentFiles;
}

function brokenPromise(before: Figures, now: Figures): AssetdError {
  const figures = {
    present_bytes: String(now.presentBytes),
    earlier_present_bytes: String(before.presentBytes),
    present_files: String(now.presentFiles),
    earlier_present_files: String(before.presentFiles),
  };
  return internalError(
    `the daemon's progress fell from ${figures.earlier_present_bytes} to ${figures.present_bytes} ` +
      `bytes, and from ${figures.earlier_present_files} to ${figures.present_files} files, within ` +
      "one attempt",
    figures,
  );
}

/** A fetch as its caller sees it, however often its stream was cut. */
export class Course {
  readonly #attempts = new Attempts();
  #totals: Totals = { totalBytes: undefined, totalFiles: undefined };
  #started: FetchStarted | undefined;
  #completed: FetchCompleted | undefined;

  /** Asks for nothing yet. */
  constructor(
    private request: FetchRequest,
    private readonly onProgress: OnFetchProgress | undefined,
  ) {}

  /** Returns what the next stream has to ask for; the events that come are that stream's. */
  beginStream(): FetchRequest {
    this.#attempts.beginStream();
    return this.request;
  }

  /** Whether the version is here: after that nothing can fail any more. */
  get isCompleted(): boolean {
    return this.#completed !== undefined;
  }

  /**
   * Takes the stream's next event.
   *
   * @throws AssetdError `INTERNAL` if it breaks a promise of the contract.
   */
  note({ event }: FetchResponse): void {
    switch (event.case) {
      case "progress": {
        const attempt = this.#attempts.number(event.value);
        const progress = fetchProgress(event.value);
        // Another stream may begin before it knows them, and nothing that was known is taken back.
        const { totalBytes = this.#totals.totalBytes, totalFiles = this.#totals.totalFiles } = progress;
        this.#totals = { totalBytes, totalFiles };
        this.onProgress?.({ ...progress, ...this.#totals, attempt });
        break;
      }
      case "started":
        // Joining again must not begin another version, should one be pushed meanwhile.
        if (this.#started === undefined) this.request = pinned(this.request, event.value.assetVersion);
        this.#started ??= event.value;
        break;
      case "completed":
        this.#completed = event.value;
        break;
      case undefined:
        // An event of a newer daemon.
        break;
    }
  }

  /**
   * Returns what came of it, once the stream has no more to say.
   *
   * @throws AssetdError `INTERNAL` if it ended without an answer.
   */
  fetched(): Fetched {
    if (this.#started === undefined || this.#completed === undefined) {
      throw internalError("the daemon ended the fetch without an answer");
    }
    const request = pinned(this.request, this.#completed.assetVersion);
    return { request, started: this.#started, completed: this.#completed };
  }
}

/** Returns the request for exactly this version, with the same part. */
export function pinned(request: FetchRequest, version: AssetVersion | undefined): FetchRequest {
  const copy = clone(FetchRequestSchema, request);
  // Without a store, a path that is no asset is answered with an empty version.
  if (version?.version) {
    const bracket = request.spec.indexOf("[");
    const part = bracket < 0 ? "" : request.spec.slice(bracket);
    copy.spec = `${version.name}:${version.version}${part}`;
  }
  return copy;
}

/** Returns the request that holds once more what a fetch has brought. */
export function holdingAgain(request: FetchRequest): FetchRequest {
  const copy = clone(FetchRequestSchema, request);
  // Said once already: holding again is about the version that is here.
  copy.forceDownload = false;
  copy.verify = false;
  return copy;
}

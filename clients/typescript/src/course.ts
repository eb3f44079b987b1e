/** The course of a fetch, whatever streams bring its events: the rules without the I/O. */
import { clone } from "@bufbuild/protobuf";

import { fetchProgress } from "./convert.js";
import type { FetchProgress } from "./asset.js";
import { internalError } from "./errors.js";
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

/**
 * Numbers the attempts of one fetch: the attempt never falls, and rises whenever a figure falls.
 *
 * A daemon promises figures that never fall within one attempt. A helper that joins again after a
 * cut may meet another daemon, which counts from what it finds: only the helper can put the two
 * together.
 */
export class Attempts {
  #last: Pick<WireProgress, "attempt" | "presentBytes" | "presentFiles"> = {
    attempt: 0,
    presentBytes: 0n,
    presentFiles: 0,
  };
  #earlier = 0;

  /** Returns the attempt that this progress has in the whole fetch. */
  number(progress: WireProgress): number {
    let attempt = progress.attempt + this.#earlier;
    if (attempt <= this.#last.attempt) {
      attempt = this.#last.attempt + (this.#hasFallen(progress) ? 1 : 0);
      this.#earlier = attempt - progress.attempt;
    }
    const { presentBytes, presentFiles } = progress;
    this.#last = { attempt, presentBytes, presentFiles };
    return attempt;
  }

  #hasFallen(progress: WireProgress): boolean {
    return (
      progress.presentBytes < this.#last.presentBytes ||
      progress.presentFiles < this.#last.presentFiles
    );
  }
}

/** A fetch as its caller sees it, however often its stream was cut. */
export class Course {
  readonly #attempts = new Attempts();
  #started: FetchStarted | undefined;
  #completed: FetchCompleted | undefined;

  /** `request` is what the next stream has to ask for. */
  constructor(
    public request: FetchRequest,
    private readonly onProgress: OnFetchProgress | undefined,
  ) {}

  /** Whether the version is here: after that nothing can fail any more. */
  get isCompleted(): boolean {
    return this.#completed !== undefined;
  }

  /** Takes the stream's next event. */
  note({ event }: FetchResponse): void {
    switch (event.case) {
      case "progress": {
        const attempt = this.#attempts.number(event.value);
        this.onProgress?.({ ...fetchProgress(event.value), attempt });
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

/** One fetch: its stream, followed to `completed` and joined again after a cut. */
import { durationMs } from "@bufbuild/protobuf/wkt";

import { CutError } from "./connection.js";
import type { Call, Connection, Stream } from "./connection.js";
import { Course } from "./course.js";
import type { Fetched, OnFetchProgress } from "./course.js";
import { stalled } from "./failure.js";
import type { FetchRequest, FetchResponse } from "./gen/assetd/v1/asset_service_pb.js";
import { Watch } from "./watchdog.js";

// The daemon's own, where a fetch asks for none.
const PROGRESS_INTERVAL_MS = 500;
const MAX_PROGRESS_INTERVAL_MS = 5_000;
// A stream may miss so many reports before it counts as silent.
const MISSED_REPORTS = 3;

/** What is left of a fetch that holds. */
export interface FetchedStream extends Fetched {
  /** With `hold` it is open and says nothing more; else it has ended. */
  readonly stream: Stream<FetchResponse>;
}

/** Returns how long the stream of a fetch may say nothing before it is given up. */
export function silenceMs(stallTimeoutMs: number, request: FetchRequest): number {
  const asked = request.progressInterval && durationMs(request.progressInterval);
  const interval = Math.min(asked ?? PROGRESS_INTERVAL_MS, MAX_PROGRESS_INTERVAL_MS);
  return stallTimeoutMs + MISSED_REPORTS * interval;
}

/**
 * Makes the version present, or fails, by streams that are watched, and replaced when they are cut.
 * Leaves no call behind when anything is thrown, by `onProgress` too.
 *
 * @throws AssetdError if the fetch failed.
 */
export async function runFetch(
  connection: Connection,
  request: FetchRequest,
  call: Call,
  onProgress: OnFetchProgress | undefined,
): Promise<FetchedStream> {
  const course = new Course(request, onProgress);
  const silence = silenceMs(connection.policy.stallTimeoutMs, request);
  for (;;) {
    const stream = await openFetch(connection, course.beginStream(), call.signal);
    const watch = new Watch(silence, () => stream.cancel());
    try {
      await follow(stream, watch, course, call);
      // The status comes right behind. Whatever it says, a version that completed is here.
      if (!request.hold) await stream.drain();
      return { ...course.fetched(), stream };
    } catch (thrown) {
      stream.cancel();
      call.signal.throwIfAborted();
      if (!(thrown instanceof CutError)) throw thrown;
      const error = watch.hasStalled ? stalled(connection.address, silence) : thrown.error;
      await call.retry.waitOrThrow(error, call.signal);
    } finally {
      watch.stop();
    }
  }
}

/** Begins one stream of a fetch. */
export function openFetch(
  connection: Connection,
  request: FetchRequest,
  parent: AbortSignal,
): Promise<Stream<FetchResponse>> {
  return connection.open((options) => connection.assets.fetch(request, options), parent);
}

async function follow(
  stream: Stream<FetchResponse>,
  watch: Watch,
  course: Course,
  call: Call,
): Promise<void> {
  for (;;) {
    const response = await stream.next();
    if (response === undefined) return;
    // What the caller's own callback takes is no silence of the daemon.
    watch.stop();
    const { event } = response;
    call.retry.answered(event.case === "progress" ? Number(event.value.presentBytes) : 0);
    course.note(response);
    watch.heard();
    if (course.isCompleted) return;
  }
}

/** Hashing and the daemon's events, turned into one progress that never falls. Knows no calls. */
import type { PushPhase, PushProgress } from "./asset.js";
import { PushProgress_Phase as Phase } from "./gen/assetd/v1/asset_service_pb.js";
import type { PushProgress as WireProgress, PushResponse } from "./gen/assetd/v1/asset_service_pb.js";

/** Gets the progress of a push; what it throws ends the push. */
export type OnPushProgress = (progress: PushProgress) => void;

/** How far one push is, over all its streams. */
export class PushMeter {
  readonly #done: Record<PushPhase, number> = { HASHING: 0, SENDING: 0, STORING: 0, COMMITTING: 0 };
  #keptBytes = 0;
  #hashedHereBytes = 0;

  /** `totalBytes` is undefined where only the daemon will know it. */
  constructor(
    private totalBytes: number | undefined,
    private readonly onProgress: OnPushProgress | undefined,
  ) {}

  /**
   * A figure that rises whenever the daemon comes further in a phase than ever before.
   *
   * Each phase by itself: what arrives again has not come further, but what is stored then has, long
   * before it makes up for all that had arrived in vain.
   */
  get furthest(): number {
    const done = Object.values(this.#done).reduce((sum, bytes) => sum + bytes, 0);
    return done - this.#hashedHereBytes;
  }

  /** Notes that so many bytes of the source are hashed. */
  hashed(hashedBytes: number): void {
    this.#hashedHereBytes = hashedBytes;
    this.#note("HASHING", hashedBytes);
  }

  /** Notes how much is about to be sent: the rest is done. Undefined: nothing is sent at all. */
  lacks(lackingBytes: number | undefined): void {
    if (lackingBytes === undefined || this.totalBytes === undefined) return;
    this.#keptBytes = this.totalBytes - lackingBytes;
    this.#note("SENDING", this.#keptBytes);
    this.#note("STORING", this.#keptBytes);
  }

  /** Notes what the daemon said. */
  observe({ event }: PushResponse): void {
    // A new stream: what it keeps of the files is yet to be said.
    if (event.case === "accepted") this.#keptBytes = 0;
    if (event.case === "progress") this.#noteProgress(event.value);
  }

  #noteProgress(progress: WireProgress): void {
    if (progress.totalBytes !== undefined) this.totalBytes ??= Number(progress.totalBytes);
    const storedBytes = Number(progress.storedBytes);
    const receivedBytes = Number(progress.receivedBytes);
    switch (progress.phase) {
      case Phase.RECEIVING:
        this.#note("SENDING", this.#keptBytes + receivedBytes);
        // Both go on at once, and the phase names but one.
        this.#note("STORING", storedBytes);
        break;
      case Phase.HASHING:
        this.#note("HASHING", receivedBytes);
        break;
      case Phase.COMMITTING:
        this.#note("COMMITTING", this.totalBytes ?? storedBytes);
        break;
      default:
        this.#note("STORING", storedBytes);
    }
  }

  #note(phase: PushPhase, doneBytes: number): void {
    // After a cut the daemon counts from what it finds, which may be less.
    this.#done[phase] = Math.max(this.#done[phase], doneBytes);
    this.onProgress?.({
      phase,
      doneBytes: this.#done[phase],
      receivedBytes: this.#done.SENDING,
      storedBytes: this.#done.STORING,
      totalBytes: this.totalBytes,
    });
  }
}

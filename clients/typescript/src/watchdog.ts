/** Streams that have to say something in time. Knows nothing of gRPC. */

/** Timers beyond it fire at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;
// A program that computed for longer than the limit finds the timer due before it has read what
// arrived meanwhile: so much is given for that.
const GRACE_MS = 250;

/** Watches one stream until `stop`: `giveUp` is called once, if it is silent for too long. */
export class Watch {
  #timer: NodeJS.Timeout | undefined;
  #hasStalled = false;

  /** Begins; a silence may last a little longer than said. */
  constructor(
    private readonly silenceMs: number,
    private readonly giveUp: () => void,
  ) {
    this.heard();
  }

  /** Whether the stream was given up for its silence. */
  get hasStalled(): boolean {
    return this.#hasStalled;
  }

  /** Notes that the stream said something. */
  heard(): void {
    this.stop();
    if (this.silenceMs >= LONGEST_TIMER_MS || this.#hasStalled) return;
    this.#timer = setTimeout(() => {
      this.#timer = setTimeout(() => {
        this.#hasStalled = true;
        this.giveUp();
      }, GRACE_MS);
    }, this.silenceMs);
  }

  /** Watches no longer. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}

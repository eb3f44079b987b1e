/**
 * One push: the two sides take turns, as the contract draws it.
 *
 * All files are announced before the first chunk, so that the daemon knows the whole version when
 * bytes begin to arrive. What the requests say, `content.ts` knows.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";

import { CutError } from "./connection.js";
import type { Call, Connection, Stream } from "./connection.js";
import type { PushContent, PushMessage } from "./content.js";
import { AssetdError, internalError } from "./errors.js";
import type {
  PushCompleted,
  PushHeaderSchema,
  PushResponse,
  PushWanted_Part,
} from "./gen/assetd/v1/asset_service_pb.js";
import type { PushMeter } from "./meter.js";

/** The header, with the `pushId` that makes repeating the push safe. */
export type Header = MessageInitShape<typeof PushHeaderSchema> & { readonly pushId: string };

/** A push of some content under one header. */
export class Push {
  constructor(
    private readonly connection: Connection,
    private readonly header: Header,
    private readonly content: PushContent,
    private readonly meter: PushMeter,
  ) {}

  /**
   * Creates the version, or nothing; cut streams are continued.
   *
   * Each try is the same push under the same `pushId`, and sends what the daemon then wants. Leaves
   * no call behind when anything is thrown: the daemon then gives the version up.
   *
   * @throws AssetdError if the push failed, or the source is not what was hashed.
   */
  async run(call: Call): Promise<PushCompleted> {
    for (let wasCut = false; ; wasCut = true) {
      const turns = new Turns();
      const requests = turns.requests();
      const stream = await this.connection.open(
        (options) => this.connection.assets.push(requests, options),
        call.signal,
      );
      try {
        return await this.#follow(stream, turns, call);
      } catch (thrown) {
        call.signal.throwIfAborted();
        if (turns.failure !== undefined) throw turns.failure.thrown;
        if (!(thrown instanceof CutError)) throw thrown;
        await this.#waitOrThrow(thrown.error, call, wasCut);
      } finally {
        stream.cancel();
        turns.end();
        // The transport may leave the generator where it stands, and with it an open file.
        await requests.return();
      }
    }
  }

  async #follow(stream: Stream<PushResponse>, turns: Turns, call: Call): Promise<PushCompleted> {
    const batches = this.content.batches();
    const wanted: PushWanted_Part[] = [];
    turns.take([{ step: { case: "header", value: this.header } }]);
    for (;;) {
      const response = await stream.next();
      if (response === undefined) throw internalError("the daemon ended the push without an answer");
      this.meter.observe(response);
      call.retry.answered(this.meter.furthest);
      const { event } = response;
      if (event.case === "completed") {
        // The status comes right behind. Whatever it says, the version exists.
        turns.end();
        await stream.drain();
        return event.value;
      }
      if (event.case === "wanted") wanted.push(...event.value.parts);
      else if (event.case !== "accepted") continue;
      const batch = batches.next().value;
      turns.take(batch === undefined ? this.#lastTurn(wanted) : [batch]);
    }
  }

  #lastTurn(wanted: readonly PushWanted_Part[]): Turn {
    this.meter.lacks(this.content.lackingBytes(wanted));
    return this.content.lastTurn(wanted);
  }

  async #waitOrThrow(error: AssetdError, call: Call, wasCut: boolean): Promise<void> {
    // The daemon sees other bytes than it was told; we can tell whose doing that is.
    if (error.reason === "PUSH_MISMATCH") await this.content.checkUnchanged();
    await call.retry.waitOrThrow(error, call.signal, this.#isOurOwn(error, wasCut));
  }

  /**
   * Tells whether the push that is in progress is an earlier try of this one.
   *
   * The daemon may not know yet that its stream is dead. A daemon that names the push which is in
   * the way is believed; else it is ours, if there was such a stream.
   */
  #isOurOwn(error: AssetdError, wasCut: boolean): boolean {
    if (error.reason !== "PUSH_IN_PROGRESS") return false;
    const pushId = error.metadata["push_id"];
    return pushId ? pushId === this.header.pushId : wasCut;
  }
}

type Turn = Iterable<PushMessage> | AsyncIterable<PushMessage>;

/**
 * The requests of one stream, each turn given once it is the client's again. The transport takes
 * the next when the last is written: files are read as fast as the daemon takes their bytes.
 */
class Turns {
  /** What reading the source threw, which ends the stream without a commit. */
  failure: { readonly thrown: unknown } | undefined;
  readonly #turns: (Turn | undefined)[] = [];
  #wake: () => void = () => undefined;

  /** Sends these next. */
  take(turn: Turn): void {
    this.#turns.push(turn);
    this.#wake();
  }

  /** Sends no more. */
  end(): void {
    this.#turns.push(undefined);
    this.#wake();
  }

  /** Gives what is to be sent. */
  async *requests(): AsyncGenerator<PushMessage, void> {
    while (this.failure === undefined) {
      const turn = await this.#next();
      if (turn === undefined) return;
      // No `yield*`: a transport whose writing fails throws that in here, which is no failure of
      // the turn.
      for await (const message of this.#guarded(turn)) yield message;
    }
  }

  async *#guarded(turn: Turn): AsyncGenerator<PushMessage, void> {
    try {
      yield* turn;
    } catch (thrown) {
      // The stream ends without a commit here, by which the daemon gives up too.
      this.failure = { thrown };
    }
  }

  async #next(): Promise<Turn | undefined> {
    while (this.#turns.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#turns.shift();
  }
}

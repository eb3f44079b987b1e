/** Listings: iterators that ask for the next page when it is wanted. */
import type { Source } from "./asset.js";

/** One page of a listing, and the token of the next; empty at the end. */
export interface Page<Entry> {
  readonly entries: readonly Entry[];
  readonly nextPageToken: string;
  readonly unreachable: readonly Source[];
}

/**
 * The entries of a listing, for `for await`. Each iteration begins anew, and asks for a page when
 * its first entry is wanted; leaving the loop asks for no more. Pages show different moments.
 */
export class Listing<Entry> implements AsyncIterable<Entry> {
  #unreachable: readonly Source[] = [];

  /** Asks for nothing yet. */
  constructor(private readonly ask: (pageToken: string) => Promise<Page<Entry>>) {}

  /**
   * What could not be asked, so that its versions are missing, as of the last page that came; only
   * for `scope: "ALL"`.
   */
  get unreachable(): readonly Source[] {
    return this.#unreachable;
  }

  /** @throws AssetdError if a page could not be had. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Entry, void, undefined> {
    let pageToken = "";
    do {
      const page = await this.ask(pageToken);
      this.#unreachable = page.unreachable;
      yield* page.entries;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }
}

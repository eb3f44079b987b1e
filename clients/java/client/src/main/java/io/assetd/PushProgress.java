package io.assetd;

import java.util.OptionalLong;

/**
 * How far a push is. No figure ever falls.
 *
 * @param phase what is being told of
 * @param doneBytes bytes that are done in this phase
 * @param receivedBytes bytes that have been sent, or need not be, since the store has them
 * @param storedBytes bytes that are in the store
 * @param totalBytes the sizes of all files added up; empty until the daemon has looked at what it is
 *     to find by itself
 */
public record PushProgress(
    Phase phase, long doneBytes, long receivedBytes, long storedBytes, OptionalLong totalBytes) {
  /** What a push is doing, in this order; sending and storing may go on at once. */
  public enum Phase {
    /** The source is read and hashed. */
    HASHING,
    /** Bytes that the store lacks go to the daemon. */
    SENDING,
    /** The daemon writes them to the store. */
    STORING,
    /** The stored bytes are checked, and the version is made visible. */
    COMMITTING
  }
}

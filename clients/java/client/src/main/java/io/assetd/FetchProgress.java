package io.assetd;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * How far a download is, which other callers may share. Within one {@code attempt} no figure falls;
 * another one may begin lower.
 *
 * @param phase what is being done
 * @param presentBytes bytes that are here
 * @param totalBytes bytes that are wanted; empty until that is known, and then never again
 * @param presentFiles files that are here
 * @param totalFiles files that are wanted; empty until that is known, and then never again
 * @param bytesPerSecond how fast bytes come, averaged over the last seconds
 * @param eta how long the rest takes at that speed; empty when nothing can be said
 * @param sinceLastByte how long nothing has come; empty until the first byte
 * @param attempt rises whenever the fetch begins anew, also with another daemon after a cut
 */
public record FetchProgress(
    Phase phase,
    long presentBytes,
    OptionalLong totalBytes,
    int presentFiles,
    OptionalInt totalFiles,
    long bytesPerSecond,
    Optional<Duration> eta,
    Optional<Duration> sinceLastByte,
    int attempt) {
  /** What a fetch is doing, in this order. */
  public enum Phase {
    /** A phase of a newer daemon. */
    UNSPECIFIED,
    /** It waits for its turn. */
    QUEUED,
    /** The store is asked which version the spec stands for, and what is in it. */
    RESOLVING,
    /** Bytes arrive. Nothing is visible at the path yet. */
    DOWNLOADING,
    /** All bytes are here, and are compared with the manifest. */
    VERIFYING,
    /** The version is made durable and visible. */
    PUBLISHING
  }
}

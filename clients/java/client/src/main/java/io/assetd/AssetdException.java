package io.assetd;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A call that did not do what it was asked to.
 *
 * <p>Switch on {@link #reason()}, whose values are in {@link Reason}. A reason that this release
 * does not know is passed through; then go by {@link #code()}. A call that its caller cancelled, or
 * whose client was closed, ends with a {@link java.util.concurrent.CancellationException} instead,
 * and never with this.
 */
public class AssetdException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** The reason of the contract; empty for none. */
  private final String reason;

  /** The code of gRPC. */
  private final Status.Code code;

  /** The changing values of the message. */
  private final transient Map<String, String> metadata;

  /** What the daemon asks for; null for nothing. */
  private final Duration retryAfter;

  AssetdException(
      String message,
      String reason,
      Status.Code code,
      Map<String, String> metadata,
      Duration retryAfter,
      Throwable cause) {
    super(message, cause);
    this.reason = reason;
    this.code = code;
    this.metadata = Map.copyOf(metadata);
    this.retryAfter = retryAfter;
  }

  /**
   * Reads the failure of a generated stub, such as those of the cache's own methods over {@link
   * AssetdClient#channel()}.
   *
   * @param thrown a {@code StatusRuntimeException} or {@code StatusException}, or what has one as
   *     its cause
   * @return what it says in the words of the contract, with {@code thrown} as its cause
   */
  public static AssetdException from(Throwable thrown) {
    return Failures.read(Status.fromThrowable(thrown), Status.trailersFromThrowable(thrown), thrown);
  }

  /**
   * Tells why, for programs. A reason never changes its meaning or its code.
   *
   * @return the name in {@code ErrorReason} without its prefix, such as {@code VERSION_NOT_FOUND};
   *     empty when the failure does not come from the daemon
   */
  public String reason() {
    return reason;
  }

  /**
   * Tells whether the reason is one of these.
   *
   * @param reasons values of {@link Reason}
   * @return whether it is
   */
  public boolean is(String... reasons) {
    return List.of(reasons).contains(reason);
  }

  /**
   * Returns the gRPC code, for reactions to a whole class of failures.
   *
   * @return the code
   */
  public Status.Code code() {
    return code;
  }

  /**
   * Returns every changing value of the message by name.
   *
   * @return the values; empty if there are none, or this was serialized
   */
  public Map<String, String> metadata() {
    return metadata == null ? Map.of() : metadata;
  }

  /**
   * Returns how long the daemon asks to wait before the call is repeated.
   *
   * @return the time, or empty if it did not say
   */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /**
   * Whether no daemon decided this, or none that can: nobody was there, or something on the way ended
   * the stream, which gRPC calls INTERNAL. Where the daemon itself fails, it says why.
   */
  boolean isCut() {
    return code == Status.Code.UNAVAILABLE || code == Status.Code.INTERNAL && reason.isEmpty();
  }

  /** Returns the failure of a defect: the daemon said what no daemon may say. */
  static AssetdException internal(String message, Map<String, String> metadata) {
    return own(message, Reason.INTERNAL, Status.Code.INTERNAL, metadata);
  }

  /** Returns the failure of an argument that cannot be; the daemon would refuse it alike. */
  static AssetdException invalidField(String message, Map<String, String> metadata) {
    return own(message, Reason.INVALID_FIELD, Status.Code.INVALID_ARGUMENT, metadata);
  }

  /** Returns a failure that this client found by itself, in the contract's words. */
  static AssetdException own(
      String message, String reason, Status.Code code, Map<String, String> metadata) {
    return new AssetdException(message, reason, code, metadata, null, null);
  }
}

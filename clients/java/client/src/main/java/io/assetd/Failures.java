package io.assetd;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import java.io.FileNotFoundException;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/** gRPC's failures, read into {@link AssetdException}: nobody else looks at statuses and trailers. */
final class Failures {
  private static final String DOMAIN = "assetd.v1";
  private static final Metadata.Key<com.google.rpc.Status> DETAILS =
      Metadata.Key.of(
          "grpc-status-details-bin",
          ProtoUtils.metadataMarshaller(com.google.rpc.Status.getDefaultInstance()));
  // For languages without the details, and for us should something strip them on the way.
  private static final Metadata.Key<String> REASON =
      Metadata.Key.of("assetd-reason", Metadata.ASCII_STRING_MARSHALLER);

  private Failures() {}

  /**
   * Returns what ended a call to this address.
   *
   * <p>A status without a reason comes from gRPC itself: the daemon could not be reached. A call
   * that was on its way while the daemon began to stop is CANCELLED by gRPC; the caller's own
   * cancelling is not told as a failure, and does not come here. Nor can a message be read that is
   * none, and that is a defect, which a repeat would meet again.
   */
  static AssetdException read(Status status, Metadata trailers, Address address) {
    if (isUnreadable(status)) {
      return AssetdException.internal("the daemon's answer cannot be read", Map.of());
    }
    AssetdException failure = read(status, trailers, status.asRuntimeException(trailers));
    Status.Code code = failure.code();
    boolean isCut = code == Status.Code.UNAVAILABLE || code == Status.Code.CANCELLED;
    return failure.reason().isEmpty() && isCut ? unreachable(status, address) : failure;
  }

  private static boolean isUnreadable(Status status) {
    Throwable cause = status.getCause();
    while (cause != null && !(cause instanceof InvalidProtocolBufferException)) {
      cause = cause.getCause();
    }
    return cause != null;
  }

  /** Returns what a status says. */
  static AssetdException read(Status status, Metadata trailers, Throwable cause) {
    String message = status.getDescription();
    if (message == null) {
      message = "the daemon gave no message";
    }
    Details details = Details.of(trailers);
    if (details.reason.isEmpty() && status.getCode() == Status.Code.DEADLINE_EXCEEDED) {
      return new CallTimeoutException(message, Map.of(), cause);
    }
    return new AssetdException(
        message, details.reason, status.getCode(), details.metadata, details.retryAfter, cause);
  }

  /** What the trailers say beside the status. */
  private record Details(String reason, Map<String, String> metadata, Duration retryAfter) {
    static Details of(Metadata trailers) {
      String reason = "";
      Map<String, String> metadata = Map.of();
      Duration retryAfter = null;
      try {
        for (Any detail : detailsIn(trailers)) {
          if (detail.is(ErrorInfo.class)) {
            ErrorInfo info = detail.unpack(ErrorInfo.class);
            // Somebody else's reason, such as a proxy's on the way, is none of our words.
            if (info.getDomain().equals(DOMAIN)) {
              reason = info.getReason();
              metadata = info.getMetadataMap();
            }
          } else if (detail.is(RetryInfo.class)) {
            RetryInfo retry = detail.unpack(RetryInfo.class);
            retryAfter = retry.hasRetryDelay() ? Convert.duration(retry.getRetryDelay()) : null;
          }
        }
      } catch (InvalidProtocolBufferException | IllegalArgumentException unreadable) {
        // The trailer below still tells the reason.
        reason = "";
      }
      String plain = trailers == null ? null : trailers.get(REASON);
      return new Details(reason.isEmpty() && plain != null ? plain : reason, metadata, retryAfter);
    }

    private static Iterable<Any> detailsIn(Metadata trailers) {
      com.google.rpc.Status status = trailers == null ? null : trailers.get(DETAILS);
      return status == null ? List.of() : status.getDetailsList();
    }
  }

  private static DaemonUnavailableException unreachable(Status status, Address address) {
    String cause = causeOf(status);
    return new DaemonUnavailableException(
        "no assetd daemon answers at " + address.target() + " (" + cause + "): start one with "
            + "`assetd serve`, or name another address by " + Address.VARIABLE,
        Map.of("address", address.target(), "cause", cause),
        null,
        status.getCause());
  }

  /** Returns the system's own words, which are those of the innermost cause. */
  private static String causeOf(Status status) {
    String words = status.getDescription();
    for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
      if (cause.getMessage() != null) {
        words = cause.getMessage();
      } else if (cause instanceof FileNotFoundException) {
        // Netty knows no more of a socket that is not there.
        words = "No such file or directory";
      }
    }
    return words == null ? status.getCode().name() : words;
  }

  /** Returns the failure of a stream that fell silent. */
  static DaemonUnavailableException stalled(Address address, long silenceNanos) {
    String seconds = Times.seconds(silenceNanos);
    return new DaemonUnavailableException(
        "the assetd daemon at " + address.target() + " said nothing for " + seconds + " seconds, "
            + "though it tells of every fetch how far it is: look whether its process is stopped or "
            + "its node hangs",
        Map.of("address", address.target(), "silent_seconds", seconds),
        null,
        null);
  }
}

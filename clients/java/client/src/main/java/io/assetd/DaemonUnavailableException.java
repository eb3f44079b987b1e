package io.assetd;

import io.grpc.Status;
import java.time.Duration;
import java.util.Map;

/** No daemon answers at the address, or it went away, or fell silent, and did not come back. */
public final class DaemonUnavailableException extends AssetdException {
  private static final long serialVersionUID = 1;

  DaemonUnavailableException(
      String message, Map<String, String> metadata, Duration retryAfter, Throwable cause) {
    super(message, "", Status.Code.UNAVAILABLE, metadata, retryAfter, cause);
  }
}

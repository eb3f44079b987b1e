package io.assetd;

import io.grpc.Status;
import java.util.Map;

/** The call's own timeout passed. What had arrived is kept for a while. */
public final class CallTimeoutException extends AssetdException {
  private static final long serialVersionUID = 1;

  CallTimeoutException(String message, Map<String, String> metadata, Throwable cause) {
    super(message, "", Status.Code.DEADLINE_EXCEEDED, metadata, null, cause);
  }
}

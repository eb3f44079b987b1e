package io.assetd;

import io.assetd.v1.ResolveVersionRequest;
import java.time.Duration;

/** How a spec is resolved. */
public final class ResolveOptions extends CallOptions<ResolveOptions> {
  private final ResolveVersionRequest.Builder request = ResolveVersionRequest.newBuilder();

  /** Has the defaults. */
  public ResolveOptions() {}

  @Override
  ResolveOptions self() {
    return this;
  }

  ResolveVersionRequest request(String spec) {
    return request.clone().setSpec(spec).build();
  }

  /**
   * Says who decides what an unpinned spec stands for. Without it, the daemon's operator did.
   *
   * @param freshness who decides
   * @return these options
   */
  public ResolveOptions freshness(Freshness freshness) {
    request.setFreshness(Requests.freshness(freshness));
    return this;
  }

  /**
   * Limits how long the store may take to say what the spec stands for.
   *
   * @param limit more than 0
   * @return these options
   */
  public ResolveOptions storeTimeout(Duration limit) {
    request.setStoreTimeout(Convert.duration(limit));
    return this;
  }
}

package io.assetd;

import io.assetd.v1.FetchRequest;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;

/** How a version is fetched. */
public final class FetchOptions extends CallOptions<FetchOptions> {
  private final FetchRequest.Builder request = FetchRequest.newBuilder();
  private Consumer<? super FetchProgress> onProgress = progress -> {};

  /** Has the defaults. */
  public FetchOptions() {}

  @Override
  FetchOptions self() {
    return this;
  }

  FetchRequest request(String spec, String caller, boolean hold) {
    return request.clone().setSpec(spec).setCaller(caller).setHold(hold).build();
  }

  Consumer<? super FetchProgress> onProgress() {
    return onProgress;
  }

  /**
   * Says who decides what an unpinned spec stands for. Without it, the daemon's operator did.
   *
   * @param freshness who decides
   * @return these options
   */
  public FetchOptions freshness(Freshness freshness) {
    request.setFreshness(Requests.freshness(freshness));
    return this;
  }

  /**
   * Limits how long the store may take to say what the spec stands for; no limit for the download.
   *
   * @param limit more than 0
   * @return these options
   */
  public FetchOptions storeTimeout(Duration limit) {
    request.setStoreTimeout(Convert.duration(limit));
    return this;
  }

  /**
   * Wants only the files that one of the globs matches: {@code *} stops at {@code /}, {@code **} does
   * not. The path is then that of a partial version, apart from the whole one. Given twice, the
   * globs add up.
   *
   * @param globs such as {@code *.json}
   * @return these options
   */
  public FetchOptions include(String... globs) {
    request.addAllInclude(List.of(globs));
    return this;
  }

  /**
   * Leaves out the files that one of the globs matches; they win over {@code include}.
   *
   * @param globs such as {@code *.log}
   * @return these options
   */
  public FetchOptions exclude(String... globs) {
    request.addAllExclude(List.of(globs));
    return this;
  }

  /**
   * Fetches nothing but the part that the spec names. Goes with neither {@code include} nor {@code
   * exclude}.
   *
   * @return these options
   */
  public FetchOptions partOnly() {
    request.setPartOnly(true);
    return this;
  }

  /**
   * Hashes every file and compares it with its manifest, also on a hit.
   *
   * @return these options
   */
  public FetchOptions verify() {
    request.setVerify(true);
    return this;
  }

  /**
   * Downloads the version even if it is present. What stands there stays until the new copy is
   * verified.
   *
   * @return these options
   */
  public FetchOptions forceDownload() {
    request.setForceDownload(true);
    return this;
  }

  /**
   * Demands that the whole version has this digest: another one fails with {@link
   * Reason#DIGEST_MISMATCH}, and nothing is published.
   *
   * @param digest {@code sha256:} and 64 hex digits
   * @return these options
   */
  public FetchOptions expectedDigest(String digest) {
    request.setExpectedDigest(digest);
    return this;
  }

  /**
   * Says how often progress is told; without it, every 500 ms.
   *
   * @param interval moved by the daemon into 50 ms to 5 s
   * @return these options
   */
  public FetchOptions progressInterval(Duration interval) {
    request.setProgressInterval(Convert.duration(interval));
    return this;
  }

  /**
   * Is told how far the download is; a hit has no progress. Called by a thread of the client, one
   * call at a time, and never after the fetch has brought its answer. What it throws ends the fetch.
   *
   * @param told gets the progress
   * @return these options
   */
  public FetchOptions onProgress(Consumer<? super FetchProgress> told) {
    onProgress = told;
    return this;
  }
}

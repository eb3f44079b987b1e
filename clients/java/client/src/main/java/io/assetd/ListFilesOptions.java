package io.assetd;

import io.assetd.v1.ListFilesRequest;
import java.util.List;

/** How the files of a version are listed. {@code timeout} limits each page. */
public final class ListFilesOptions extends CallOptions<ListFilesOptions> {
  private final ListFilesRequest.Builder request = ListFilesRequest.newBuilder();

  /** Has the defaults. */
  public ListFilesOptions() {}

  @Override
  ListFilesOptions self() {
    return this;
  }

  ListFilesRequest.Builder request(String spec) {
    return request.clone().setSpec(spec);
  }

  /**
   * Says who decides what an unpinned spec stands for. Without it, the daemon's operator did.
   *
   * @param freshness who decides
   * @return these options
   */
  public ListFilesOptions freshness(Freshness freshness) {
    request.setFreshness(Requests.freshness(freshness));
    return this;
  }

  /**
   * Shows the files that a fetch with these globs would bring.
   *
   * @param globs as {@link FetchOptions#include}
   * @return these options
   */
  public ListFilesOptions include(String... globs) {
    request.addAllInclude(List.of(globs));
    return this;
  }

  /**
   * Shows the files that a fetch with these globs would bring.
   *
   * @param globs as {@link FetchOptions#exclude}
   * @return these options
   */
  public ListFilesOptions exclude(String... globs) {
    request.addAllExclude(List.of(globs));
    return this;
  }

  /**
   * Says how many entries one answer of the daemon has at most; without it, 100.
   *
   * @param entries 1 to 1,000
   * @return these options
   */
  public ListFilesOptions pageSize(int entries) {
    request.setPageSize(entries);
    return this;
  }
}

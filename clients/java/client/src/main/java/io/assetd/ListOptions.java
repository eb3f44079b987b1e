package io.assetd;

import io.assetd.v1.ListRequest;

/** How versions are listed. {@code timeout} limits each page. */
public final class ListOptions extends CallOptions<ListOptions> {
  private final ListRequest.Builder request = ListRequest.newBuilder();

  /** Where a listing looks. */
  public enum Scope {
    /** In the store and in the cache; {@link Listing#unreachable} names what could not be asked. */
    ALL,
    /** In the store alone; the listing fails when it does not answer. */
    STORE,
    /** In the cache alone. */
    CACHE
  }

  /** Has the defaults. */
  public ListOptions() {}

  @Override
  ListOptions self() {
    return this;
  }

  ListRequest.Builder request(String prefix) {
    return request.clone().setNamePrefix(prefix);
  }

  /**
   * Says where to look; without it, as with {@link Scope#ALL}.
   *
   * @param scope where
   * @return these options
   */
  public ListOptions scope(Scope scope) {
    request.setScope(ListRequest.Scope.valueOf("SCOPE_" + scope));
    return this;
  }

  /**
   * Lists only the newest version of each asset.
   *
   * @return these options
   */
  public ListOptions latestOnly() {
    request.setLatestOnly(true);
    return this;
  }

  /**
   * Tells size, digest, date and labels of each version too, which reads one manifest a version:
   * slower by far.
   *
   * @return these options
   */
  public ListOptions full() {
    request.setView(ListRequest.View.VIEW_FULL);
    return this;
  }

  /**
   * Says how many entries one answer of the daemon has at most; without it, 100.
   *
   * @param entries 1 to 1,000
   * @return these options
   */
  public ListOptions pageSize(int entries) {
    request.setPageSize(entries);
    return this;
  }
}

package io.assetd;

import io.assetd.v1.AssetServiceGrpc;
import io.assetd.v1.FetchRequest;
import io.grpc.Channel;
import io.grpc.MethodDescriptor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;

/**
 * Talks to the assetd daemon of this node. One is enough for a program. Safe for threads.
 *
 * <p>Calls that answer once return a {@link CompletableFuture}: cancelling it, or completing it in
 * any other way such as {@code orTimeout}, ends the call. It fails with an {@link AssetdException};
 * {@link #await} waits for it, and throws that as it is. A call that no daemon answers, or that
 * something on the way ended, is repeated with growing pauses; {@link RetryPolicy} says which
 * failures those are, and every other one counts at once.
 *
 * <p>Nothing is dialled before the first call. The threads of a client are daemon threads: neither
 * calls nor holds keep a program alive.
 */
public final class AssetdClient implements AutoCloseable {
  private final Connection connection;
  private final Fetcher fetcher;
  private final Workers workers;
  private final String caller;
  private final Path assetsDir;
  private final Set<Hold> holds = ConcurrentHashMap.newKeySet();
  private volatile boolean isClosed;

  AssetdClient(AssetdClientBuilder builder) {
    boolean isEncrypted = builder.credentials != null;
    Address address = Address.find(builder.address, isEncrypted, builder.environment);
    assetsDir = Address.findAssetsDir(builder.assetsDir, builder.environment);
    caller = builder.caller;
    connection = new Connection(address, builder.credentials, builder.interceptors);
    fetcher = new Fetcher(connection, builder.policy);
    workers = new Workers(builder.policy, builder.seams);
  }

  /**
   * Returns a client for the daemon at {@code ASSETD_ADDRESS}, else at {@code
   * unix:///run/assetd/assetd.sock} for root and at {@code assetd/assetd.sock} below {@code
   * XDG_RUNTIME_DIR} for everybody else. The caller closes it.
   *
   * @return a client
   * @throws IllegalArgumentException if the address is none, or there is no default
   */
  public static AssetdClient create() {
    return builder().build();
  }

  /**
   * Returns what makes a client that is told more.
   *
   * @return a builder with the defaults
   */
  public static AssetdClientBuilder builder() {
    return new AssetdClientBuilder();
  }

  /**
   * Makes the version that a spec stands for present on this node, and tells where it is; see {@link
   * #fetch(String, FetchOptions)}.
   *
   * @param spec {@code name[:version][[sub/part]]}
   * @return the version and where it is
   */
  public CompletableFuture<Asset> fetch(String spec) {
    return fetch(spec, new FetchOptions());
  }

  /**
   * Makes the version that a spec stands for present on this node, and tells where it is.
   *
   * <p>All callers for one version share one download; a version that is present is a hit. A stream
   * that is cut is joined again, for the version that the fetch had begun with. When the future is
   * cancelled, so is the call; the download goes on only while somebody else waits for it. Without a
   * hold the cache may evict the version when it needs the room, though not right after.
   *
   * <p>It fails with an {@link AssetdException}. {@code ASSET_NOT_FOUND}, {@code VERSION_NOT_FOUND},
   * {@code PART_NOT_FOUND}: there is no such thing. {@code STORE_UNAVAILABLE}: the store does not
   * answer the daemon. {@code CACHE_FULL}, {@code DISK_FULL}: there is no room. {@code
   * DIGEST_MISMATCH}: what arrived is not what it should be, and nothing was published. {@link
   * DaemonUnavailableException}: no daemon answers. {@link CallTimeoutException}: the timeout has
   * passed. Or any other reason of the contract.
   *
   * @param spec {@code name[:version][[sub/part]]}; without a version the newest one, with {@code :1}
   *     the newest 1.x. With a part the path points at it; all of the version is fetched
   * @param options how
   * @return the version and where it is
   * @throws IllegalStateException if this client is closed
   */
  public CompletableFuture<Asset> fetch(String spec, FetchOptions options) {
    Course course = new Course(options.request(spec, caller, false), options.onProgress());
    return workers.begin(options.timeout(), call -> asset(fetcher.run(course, call)));
  }

  private Asset asset(Fetcher.Outcome outcome) {
    Course.Fetched fetched = outcome.fetched();
    return Convert.asset(fetched.started(), fetched.completed(), assetsDir);
  }

  /**
   * As {@link #hold(String, FetchOptions)}.
   *
   * @param spec {@code name[:version][[sub/part]]}
   * @return the hold, which the caller closes
   */
  public Hold hold(String spec) {
    return hold(spec, new FetchOptions());
  }

  /**
   * As {@code fetch}, waits for it, and keeps the version from being evicted until the hold is
   * closed: {@code try (Hold held = client.hold(spec))}. The options' timeout limits the fetch, not
   * the hold. Interrupting the thread that waits ends the call.
   *
   * @param spec as for {@code fetch}
   * @param options how
   * @return the hold, which the caller closes
   * @throws AssetdException as {@code fetch} fails
   * @throws CancellationException if the thread was interrupted, or the client
   *     closed meanwhile
   * @throws IllegalStateException if this client is closed
   */
  public Hold hold(String spec, FetchOptions options) {
    return await(holdAsync(spec, options));
  }

  /**
   * As {@link #hold(String, FetchOptions)}, without waiting.
   *
   * @param spec as for {@code fetch}
   * @param options how
   * @return the hold, which the caller closes; one whose future was cancelled is closed already
   * @throws IllegalStateException if this client is closed
   */
  public CompletableFuture<Hold> holdAsync(String spec, FetchOptions options) {
    FetchRequest request = options.request(spec, caller, true);
    Course course = new Course(request, options.onProgress());
    return workers.begin(
        options.timeout(),
        call -> {
          Fetcher.Outcome outcome = fetcher.run(course, call);
          Asset asset = asset(outcome);
          call.handOver();
          Hold hold = new Hold(this, asset, workers.behind(call), outcome);
          remember(hold);
          return hold;
        });
  }

  private void remember(Hold hold) {
    holds.add(hold);
    if (isClosed) {
      hold.close();
    }
  }

  void forget(Hold hold) {
    holds.remove(hold);
  }

  Fetcher fetcher() {
    return fetcher;
  }

  Workers workers() {
    return workers;
  }

  /**
   * As {@link #resolve(String, ResolveOptions)}.
   *
   * @param spec {@code name[:version][[sub/part]]}
   * @return what it stands for
   */
  public CompletableFuture<ResolvedVersion> resolve(String spec) {
    return resolve(spec, new ResolveOptions());
  }

  /**
   * Tells which version a spec stands for now, how that was found, and what the cache holds of it.
   * Changes nothing: without a hold the version may be evicted right after.
   *
   * <p>It fails with an {@link AssetdException}. {@code ASSET_NOT_FOUND}, {@code VERSION_NOT_FOUND},
   * {@code NOT_CACHED}: there is no such version. {@code STORE_UNAVAILABLE}, {@link
   * DaemonUnavailableException}, {@link CallTimeoutException} as {@code fetch}. Or any other reason
   * of the contract.
   *
   * @param spec as for {@code fetch}
   * @param options how
   * @return what it stands for
   * @throws IllegalStateException if this client is closed
   */
  public CompletableFuture<ResolvedVersion> resolve(String spec, ResolveOptions options) {
    return ask(
        options.timeout(),
        AssetServiceGrpc.getResolveVersionMethod(),
        options.request(spec),
        Convert::resolvedVersion);
  }

  /**
   * As {@link #push(Path, String, PushOptions)}.
   *
   * @param source a plain file, or a folder of plain files and folders
   * @param spec {@code name}, {@code name:1} or {@code name:1.2}
   * @return the version
   */
  public CompletableFuture<PushedVersion> push(Path source, String spec) {
    return push(source, spec, new PushOptions());
  }

  /**
   * Creates one new version of an asset from a file or folder, and returns the version.
   *
   * <p>All or nothing: when it succeeds, the version is durable and listed; when it fails, nothing
   * was created, unless the daemon was already committing. The source is read twice, once to hash it,
   * on all processors, and once for what the store lacks, and must not change meanwhile. A cut push
   * is continued where it was.
   *
   * <p>It fails with an {@link AssetdException}. {@code UNSUPPORTED_FILE}: the source holds a
   * symlink, hard link, device, FIFO or socket. {@code INVALID_PART}: it holds an empty folder, a
   * name that is not UTF-8, or nothing that is not excluded. {@code SOURCE_CHANGED}: it changed
   * meanwhile. {@code VERSION_EXISTS}: the version exists with other content. {@code ASSET_EXISTS},
   * {@code ASSET_NOT_FOUND}: what the mode demands is not so. {@code PUSH_IN_PROGRESS}: somebody else
   * is pushing this version. Or any other reason of the contract. With an {@link IOException} where
   * the source cannot be read.
   *
   * @param source a plain file, or a folder of plain files and folders
   * @param spec {@code name} for the next version, {@code name:1} for the next 1.x, {@code name:1.2}
   *     for exactly that
   * @param options how
   * @return the version
   * @throws AssetdException {@code INVALID_FIELD} if the push id is none, or a glob matches nothing
   * @throws IllegalStateException if this client is closed
   */
  public CompletableFuture<PushedVersion> push(Path source, String spec, PushOptions options) {
    PushCall push = new PushCall(connection, workers.executor(), spec, options);
    return workers.begin(options.timeout(), call -> push.local(source, call));
  }

  /**
   * Creates one new version from what lies below ASSETS_DIR/.assetd/push on the node. No byte travels
   * to the daemon: it reads the file or folder where it lies, which must not change until the push
   * has ended. All else is as for {@code push}, but that nothing can be excluded.
   *
   * <p>{@code INVALID_FIELD}: nothing lies there, or the path is absolute and not below that folder.
   * {@code SOURCE_NOT_ALLOWED}: the path leads elsewhere.
   *
   * @param path relative to that folder; or absolute and below it, as the daemon or this client's
   *     ASSETS_DIR has it
   * @param spec as for {@code push}
   * @param options how
   * @return the version
   */
  public CompletableFuture<PushedVersion> pushStaged(Path path, String spec, PushOptions options) {
    PushCall push = new PushCall(connection, workers.executor(), spec, options).ofTheDaemon();
    return workers.begin(options.timeout(), call -> push.staged(path, assetsDir, call));
  }

  /**
   * Creates one new version from where a URI points. The daemon reads it; no byte comes from here.
   * All else is as for {@link #pushStaged}.
   *
   * <p>{@code SOURCE_NOT_ALLOWED}: the daemon's operator does not allow it.
   *
   * @param uri {@code s3://...} or {@code file://...}, among those that the operator allows
   * @param spec as for {@code push}
   * @param options how
   * @return the version
   */
  public CompletableFuture<PushedVersion> pushFrom(String uri, String spec, PushOptions options) {
    PushCall push = new PushCall(connection, workers.executor(), spec, options).ofTheDaemon();
    return workers.begin(options.timeout(), call -> push.from(uri, call));
  }

  /**
   * As {@link #list(String, ListOptions)}.
   *
   * @param prefix what names begin with; empty for all
   * @return the versions
   */
  public Listing<ListEntry> list(String prefix) {
    return list(prefix, new ListOptions());
  }

  /**
   * Gives the versions of all assets whose names begin with a prefix, ordered by name, then newest
   * first. {@code nlp/} lists that folder, {@code nlp/ra} also {@code nlp/ranker}.
   *
   * <p>Iterating throws an {@link AssetdException} if a page could not be had: {@code
   * STORE_UNAVAILABLE} for {@link ListOptions.Scope#STORE} only.
   *
   * @param prefix what names begin with; empty for all
   * @param options how
   * @return the versions, asked for as they are wanted
   */
  public Listing<ListEntry> list(String prefix, ListOptions options) {
    return new Listing<>(
        token ->
            await(
                ask(
                    options.timeout(),
                    AssetServiceGrpc.getListMethod(),
                    options.request(prefix).setPageToken(token).build(),
                    Convert::page)));
  }

  /**
   * As {@link #listFiles(String, ListFilesOptions)}.
   *
   * @param spec {@code name[:version][[sub/part]]}
   * @return the files
   */
  public Listing<AssetFile> listFiles(String spec) {
    return listFiles(spec, new ListFilesOptions());
  }

  /**
   * Gives the files of one version in bytewise order of their paths. The version need not be in the
   * cache. All pages are about the version of the first. A part in the spec narrows the answer to
   * what is at or below it.
   *
   * <p>Iterating throws an {@link AssetdException} if a page could not be had, as {@code resolve}
   * fails.
   *
   * @param spec as for {@code fetch}
   * @param options how
   * @return the files, asked for as they are wanted
   */
  public Listing<AssetFile> listFiles(String spec, ListFilesOptions options) {
    return new Listing<>(
        token ->
            await(
                ask(
                    options.timeout(),
                    AssetServiceGrpc.getListFilesMethod(),
                    options.request(spec).setPageToken(token).build(),
                    Convert::page)));
  }

  private <Q, R, T> CompletableFuture<T> ask(
      Duration timeout, MethodDescriptor<Q, R> method, Q request, Function<R, T> convert) {
    return workers.begin(timeout, call -> convert.apply(connection.ask(method, request, call)));
  }

  /**
   * Waits for a call.
   *
   * @param future what a method of a client returned
   * @param <T> its answer
   * @return the answer
   * @throws AssetdException if the call failed so
   * @throws CancellationException if it was cancelled, its client was closed, or this thread was
   *     interrupted, which cancels it; the thread then stays interrupted
   * @throws UncheckedIOException if a source could not be read
   */
  public static <T> T await(CompletableFuture<T> future) {
    return Workers.await(future);
  }

  /**
   * Returns the connection itself, for stubs of {@code io.assetd.v1}; {@link AssetdException#from}
   * reads their failures. It ends with the client.
   *
   * @return the channel
   */
  public Channel channel() {
    return connection.channel();
  }

  /**
   * Ends all holds and calls, and the connection; idempotent. Calls that go on fail with a {@link
   * CancellationException}, and later ones throw.
   */
  @Override
  public void close() {
    isClosed = true;
    workers.close();
    holds.forEach(Hold::close);
    connection.close();
  }
}

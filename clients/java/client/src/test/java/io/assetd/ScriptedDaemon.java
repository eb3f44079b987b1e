package io.assetd;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.assetd.v1.AssetServiceGrpc;
import io.assetd.v1.AssetVersion;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import io.assetd.v1.ListFilesRequest;
import io.assetd.v1.ListFilesResponse;
import io.assetd.v1.ListRequest;
import io.assetd.v1.ListResponse;
import io.assetd.v1.PushRequest;
import io.assetd.v1.PushResponse;
import io.assetd.v1.ResolveVersionRequest;
import io.assetd.v1.ResolveVersionResponse;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** A daemon on a unix socket that does what scripts say, for what a real one cannot be made to do. */
final class ScriptedDaemon implements AutoCloseable {
  /** The one asset of these scripts. */
  static final AssetVersion RANKER =
      AssetVersion.newBuilder()
          .setName("nlp/ranker")
          .setVersion("1.2")
          .setSizeBytes(100)
          .setFileCount(1)
          .build();

  /** What is done with one call; it has a thread of its own. */
  interface Script<Q, R> {
    void play(Stage<Q, R> stage) throws Exception;
  }

  final List<FetchRequest> fetches = new CopyOnWriteArrayList<>();
  final List<ResolveVersionRequest> resolves = new CopyOnWriteArrayList<>();
  final List<ListRequest> lists = new CopyOnWriteArrayList<>();
  final List<Metadata> headers = new CopyOnWriteArrayList<>();
  final List<String> authorities = new CopyOnWriteArrayList<>();
  final Queue<Script<FetchRequest, FetchResponse>> fetchScripts = new ConcurrentLinkedQueue<>();
  final Queue<Script<PushRequest, PushResponse>> pushScripts = new ConcurrentLinkedQueue<>();
  final Queue<Script<ResolveVersionRequest, ResolveVersionResponse>> resolveScripts =
      new ConcurrentLinkedQueue<>();
  final Queue<Script<ListRequest, ListResponse>> listScripts = new ConcurrentLinkedQueue<>();
  final Queue<Script<ListFilesRequest, ListFilesResponse>> listFilesScripts =
      new ConcurrentLinkedQueue<>();
  private final List<Thread> threads = new CopyOnWriteArrayList<>();
  private final AtomicInteger open = new AtomicInteger();
  private final EventLoopGroup loop = new EpollEventLoopGroup(1);
  private final Path socket;
  private Server server;

  ScriptedDaemon(Path folder) {
    socket = folder.resolve("assetd.sock");
    start();
  }

  /** A daemon whose fetches go like this, one after the other. */
  @SafeVarargs
  static ScriptedDaemon fetching(Path folder, Script<FetchRequest, FetchResponse>... scripts) {
    ScriptedDaemon daemon = new ScriptedDaemon(folder);
    for (Script<FetchRequest, FetchResponse> script : scripts) {
      daemon.fetchScripts.add(script);
    }
    return daemon;
  }

  /** Returns the builder of a server on a socket, all of whose work is done by one loop. */
  static NettyServerBuilder listening(Path socket, EventLoopGroup loop) {
    return NettyServerBuilder.forAddress(new DomainSocketAddress(socket.toString()))
        .bossEventLoopGroup(loop)
        .workerEventLoopGroup(loop)
        .channelType(EpollServerDomainSocketChannel.class)
        .withChildOption(ChannelOption.SO_KEEPALIVE, null);
  }

  private void start() {
    try {
      Files.deleteIfExists(socket);
      server =
          listening(socket, loop)
              .intercept(new Headers())
              .addService(new Service())
              .build()
              .start();
    } catch (IOException failed) {
      throw new UncheckedIOException(failed);
    }
  }

  String address() {
    return "unix://" + socket;
  }

  /** Ends as a process that dies does, and another one takes its place. */
  void restart() {
    server.shutdownNow();
    start();
  }

  /** Returns how many calls have begun and not ended. */
  int open() {
    return open.get();
  }

  /** Returns once no call is open: one that leaks makes it wait for ever. */
  void quiet() {
    Waiting.until(() -> open.get() == 0);
  }

  @Override
  public void close() {
    server.shutdownNow();
    for (Thread thread : threads) {
      thread.interrupt();
      try {
        thread.join();
      } catch (InterruptedException hurry) {
        Thread.currentThread().interrupt();
      }
    }
    loop.shutdownGracefully(0, 1, TimeUnit.SECONDS);
  }

  /** Returns an error as a daemon raises it. */
  static StatusRuntimeException error(
      Status.Code code, String reason, Map<String, String> metadata, Long retryAfterMillis) {
    com.google.rpc.Status.Builder status =
        com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage("said " + reason);
    if (retryAfterMillis != null) {
      status.addDetails(
          Any.pack(
              RetryInfo.newBuilder()
                  .setRetryDelay(
                      Convert.duration(java.time.Duration.ofMillis(retryAfterMillis)))
                  .build()));
    }
    status.addDetails(
        Any.pack(
            ErrorInfo.newBuilder()
                .setDomain("assetd.v1")
                .setReason(reason)
                .putAllMetadata(metadata)
                .build()));
    return StatusProto.toStatusRuntimeException(status.build());
  }

  static StatusRuntimeException error(Status.Code code, String reason) {
    return error(code, reason, Map.of(), null);
  }

  /** One call, as its script sees it. */
  final class Stage<Q, R> implements StreamObserver<Q> {
    final BlockingQueue<Q> requests = new LinkedBlockingQueue<>();
    private final ServerCallStreamObserver<R> answers;

    Stage(StreamObserver<R> answers) {
      this.answers = (ServerCallStreamObserver<R>) answers;
      open.incrementAndGet();
      // Neither is an error here: the script looks by itself.
      this.answers.setOnCancelHandler(open::decrementAndGet);
      this.answers.setOnCloseHandler(open::decrementAndGet);
    }

    @Override
    public void onNext(Q request) {
      requests.add(request);
    }

    @Override
    public void onError(Throwable thrown) {}

    @Override
    public void onCompleted() {}

    void begin(Script<Q, R> script) {
      Thread thread = new Thread(() -> play(script), "script");
      thread.setDaemon(true);
      threads.add(thread);
      thread.start();
    }

    private void play(Script<Q, R> script) {
      try {
        if (script == null) {
          throw error(Status.Code.DATA_LOSS, "NO_SCRIPT_FOR_THIS_CALL");
        }
        script.play(this);
        answers.onCompleted();
      } catch (Exception failed) {
        answers.onError(failed);
      }
    }

    void say(R answer) {
      answers.onNext(answer);
    }

    Q take() throws InterruptedException {
      return requests.take();
    }

    /** Says nothing until the caller leaves. */
    void awaitCancel() {
      Waiting.until(answers::isCancelled);
    }
  }

  private final class Headers implements ServerInterceptor {
    @Override
    public <Q, R> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, R> call, Metadata metadata, ServerCallHandler<Q, R> next) {
      headers.add(metadata);
      authorities.add(call.getAuthority());
      return next.startCall(call, metadata);
    }
  }

  private final class Service extends AssetServiceGrpc.AssetServiceImplBase {
    @Override
    public void fetch(FetchRequest request, StreamObserver<FetchResponse> answers) {
      fetches.add(request);
      new Stage<FetchRequest, FetchResponse>(answers).begin(fetchScripts.poll());
    }

    @Override
    public StreamObserver<PushRequest> push(StreamObserver<PushResponse> answers) {
      Stage<PushRequest, PushResponse> stage = new Stage<>(answers);
      stage.begin(pushScripts.poll());
      return stage;
    }

    @Override
    public void resolveVersion(
        ResolveVersionRequest request, StreamObserver<ResolveVersionResponse> answers) {
      resolves.add(request);
      new Stage<ResolveVersionRequest, ResolveVersionResponse>(answers)
          .begin(resolveScripts.poll());
    }

    @Override
    public void list(ListRequest request, StreamObserver<ListResponse> answers) {
      lists.add(request);
      new Stage<ListRequest, ListResponse>(answers).begin(listScripts.poll());
    }

    @Override
    public void listFiles(ListFilesRequest request, StreamObserver<ListFilesResponse> answers) {
      Stage<ListFilesRequest, ListFilesResponse> stage = new Stage<>(answers);
      stage.onNext(request);
      stage.begin(listFilesScripts.poll());
    }
  }
}

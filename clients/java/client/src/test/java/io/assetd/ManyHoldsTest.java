package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.assetd.v1.AssetServiceGrpc;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import io.grpc.Server;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(120)
class ManyHoldsTest {
  private static final int HOLDS = 2000;
  // The client's few of each kind, and gRPC's own of a connection.
  private static final int FEW_THREADS = 16;

  @TempDir Path folder;

  /** Holds whose daemon goes away and comes back cost no thread each, and are all held again. */
  @Test
  void costNoThreads() throws IOException {
    AtomicInteger pauses = new AtomicInteger();
    Seams counting =
        new Seams() {
          @Override
          public Future<?> pause(long nanos, Runnable then, ScheduledExecutorService timer) {
            pauses.incrementAndGet();
            return Seams.super.pause(nanos, then, timer);
          }
        };
    try (HoldingDaemon daemon = new HoldingDaemon(folder.resolve("assetd.sock"));
        AssetdClient client =
            AssetdClient.builder()
                .address("unix://" + daemon.socket)
                .environment(Map.of())
                .seams(counting)
                .build()) {
      List<Hold> holds = new ArrayList<>();
      for (int count = 0; count < HOLDS; count++) {
        holds.add(client.hold("nlp/ranker"));
      }
      assertEquals(HOLDS, daemon.open.get());
      int before = threads();
      AtomicInteger most = new AtomicInteger(before);

      daemon.stop();
      Waiting.until(() -> noted(most) && pauses.get() >= 3 * HOLDS);
      daemon.start();
      Waiting.until(() -> noted(most) && daemon.open.get() == HOLDS);

      assertTrue(most.get() <= before + FEW_THREADS, before + " became " + most + " threads");
      assertTrue(holds.stream().allMatch(Hold::isHeld));
      holds.forEach(Hold::close);
      Waiting.until(() -> daemon.open.get() == 0);
    }
  }

  private static int threads() {
    return Thread.getAllStackTraces().size();
  }

  private static boolean noted(AtomicInteger most) {
    most.accumulateAndGet(threads(), Math::max);
    return true;
  }

  /** A daemon that has every version, and one thread for all calls. */
  private static final class HoldingDaemon extends AssetServiceGrpc.AssetServiceImplBase
      implements AutoCloseable {
    final AtomicInteger open = new AtomicInteger();
    final Path socket;
    private final EventLoopGroup loop = new EpollEventLoopGroup(1);
    private Server server;

    HoldingDaemon(Path socket) throws IOException {
      this.socket = socket;
      start();
    }

    void start() throws IOException {
      Files.deleteIfExists(socket);
      server =
          ScriptedDaemon.listening(socket, loop)
              .directExecutor()
              .addService(this)
              .build()
              .start();
    }

    void stop() {
      server.shutdownNow();
    }

    @Override
    public void fetch(FetchRequest request, StreamObserver<FetchResponse> answers) {
      open.incrementAndGet();
      ((ServerCallStreamObserver<FetchResponse>) answers)
          .setOnCancelHandler(open::decrementAndGet);
      answers.onNext(Events.started());
      answers.onNext(Events.completed());
    }

    @Override
    public void close() {
      server.shutdownNow();
      loop.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }
  }
}

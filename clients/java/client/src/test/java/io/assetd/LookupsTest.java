package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.assetd.v1.AssetServiceGrpc;
import io.assetd.v1.AssetVersion;
import io.assetd.v1.ListRequest;
import io.assetd.v1.ListResponse;
import io.assetd.v1.ResolveVersionRequest;
import io.assetd.v1.ResolveVersionResponse;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.opentelemetry.api.baggage.Baggage;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Calls that are answered at once, and what every call carries. */
@Timeout(60)
class LookupsTest {
  private static final String TRACE = "0af7651916cd43dd8448eb211c80319c";
  private static final String SPAN = "b7ad6b7169203331";

  @TempDir Path folder;
  private final Impatient seams = new Impatient();

  private static ScriptedDaemon.Script<ResolveVersionRequest, ResolveVersionResponse> resolved() {
    return stage ->
        stage.say(
            ResolveVersionResponse.newBuilder().setAssetVersion(ScriptedDaemon.RANKER).build());
  }

  /** A lookup is repeated while the daemon is UNAVAILABLE. */
  @Test
  void repeats() {
    try (ScriptedDaemon daemon = new ScriptedDaemon(folder);
        AssetdClient client = seams.client(daemon)) {
      daemon.resolveScripts.add(
          stage -> {
            throw ScriptedDaemon.error(
                Status.Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, Map.of(), 900L);
          });
      daemon.resolveScripts.add(resolved());
      ResolveOptions options =
          new ResolveOptions().freshness(Freshness.STORE).storeTimeout(Duration.ofSeconds(3));
      assertEquals("1.2", AssetdClient.await(client.resolve("nlp/ranker", options)).version());
      assertEquals(List.of(1000L), seams.pausedMillis);
      assertEquals(2, daemon.resolves.size());
      assertEquals(3, daemon.resolves.get(1).getStoreTimeout().getSeconds());
      daemon.quiet();
    }
  }

  /** A port on this node is dialled by name or number. */
  @Test
  void ports() throws IOException {
    Server server =
        NettyServerBuilder.forAddress(new InetSocketAddress("localhost", 0))
            .addService(new AssetServiceGrpc.AssetServiceImplBase() {})
            .build()
            .start();
    try {
      for (String host : List.of("localhost:", "tcp://127.0.0.1:")) {
        try (AssetdClient client =
            seams.client(host + server.getPort(), RetryPolicy.DEFAULT)) {
          AssetdException failure =
              assertThrows(
                  AssetdException.class, () -> AssetdClient.await(client.resolve("nlp/ranker")));
          // It is there, and knows no method.
          assertEquals(Status.Code.UNIMPLEMENTED, failure.code());
        }
      }
    } finally {
      server.shutdownNow();
    }
  }

  private static ListResponse page(String next, String... versions) {
    ListResponse.Builder page = ListResponse.newBuilder().setNextPageToken(next);
    for (String version : versions) {
      AssetVersion.Builder named = AssetVersion.newBuilder().setName("a").setVersion(version);
      page.addEntries(ListResponse.Entry.newBuilder().setAssetVersion(named));
    }
    return page.build();
  }

  /** Pages are asked for as they are wanted, empty ones too, and each iteration begins anew. */
  @Test
  void pages() {
    try (ScriptedDaemon daemon = new ScriptedDaemon(folder);
        AssetdClient client = seams.client(daemon)) {
      ListResponse last =
          page("", "1.0").toBuilder().addUnreachable(io.assetd.v1.Source.SOURCE_STORE).build();
      for (int round = 0; round < 2; round++) {
        daemon.listScripts.add(stage -> stage.say(page("t1", "3.0", "2.0")));
        daemon.listScripts.add(stage -> stage.say(page("t2")));
        daemon.listScripts.add(stage -> stage.say(last));
      }
      Listing<ListEntry> listing = client.list("a", new ListOptions().pageSize(2));
      assertEquals(0, daemon.lists.size());
      Iterator<ListEntry> entries = listing.iterator();
      assertEquals("3.0", entries.next().version());
      assertEquals("2.0", entries.next().version());
      assertEquals(1, daemon.lists.size());
      assertEquals("1.0", entries.next().version());
      assertEquals(List.of("", "t1", "t2"), tokens(daemon));
      assertFalse(entries.hasNext());
      assertThrows(NoSuchElementException.class, entries::next);
      assertEquals(List.of(Source.STORE), listing.unreachable());
      assertEquals(3, listing.stream().count());
      assertTrue(daemon.lists.stream().allMatch(request -> request.getPageSize() == 2));
    }
  }

  private static List<String> tokens(ScriptedDaemon daemon) {
    return daemon.lists.stream().map(ListRequest::getPageToken).toList();
  }

  private static String header(ScriptedDaemon daemon, int call, String name) {
    return daemon.headers.get(call).get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
  }

  /** A call carries the trace of the thread that made it, in all its repeats; without, none. */
  @Test
  void traces() {
    Span span =
        Span.wrap(
            SpanContext.create(
                TRACE, SPAN, TraceFlags.getSampled(), TraceState.getDefault()));
    Context context = Context.root().with(span).with(Baggage.builder().put("a", "b").build());
    try (ScriptedDaemon daemon = new ScriptedDaemon(folder);
        AssetdClient client = seams.client(daemon)) {
      daemon.fetchScripts.add(
          Events.playThenFail(
              ScriptedDaemon.error(Status.Code.UNAVAILABLE, Reason.LOCK_BUSY), Events.started()));
      daemon.fetchScripts.add(
          stage -> {
            Events.play(Events.started(), Events.completed()).play(stage);
            throw ScriptedDaemon.error(Status.Code.UNAVAILABLE, Reason.SHUTTING_DOWN);
          });
      daemon.fetchScripts.add(Events.playAndWait(Events.started(), Events.completed()));
      Hold held;
      try (Scope current = context.makeCurrent()) {
        assertEquals(TRACE, Span.current().getSpanContext().getTraceId());
        held = client.hold("nlp/ranker");
      }
      Waiting.until(() -> daemon.fetches.size() == 3);
      for (int call = 0; call < 3; call++) {
        assertEquals("00-" + TRACE + "-" + SPAN + "-01", header(daemon, call, "traceparent"));
        assertEquals("a=b", header(daemon, call, "baggage"));
      }
      held.close();
      daemon.resolveScripts.add(resolved());
      AssetdClient.await(client.resolve("nlp/ranker"));
      assertNull(header(daemon, 3, "traceparent"));
      assertNull(header(daemon, 3, "baggage"));
    }
  }
}

package io.assetd;

import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** The connection to one daemon; it is dialled by its first call, and again when it was lost. */
final class Connection implements AutoCloseable {
  // A hold is silent by design. These notice a daemon that is frozen, or out of reach, and the hold
  // is then taken again. The daemon allows a ping every 5 s.
  private static final long PING_INTERVAL_SECONDS = 30;
  private static final long PING_TIMEOUT_SECONDS = 20;
  private static final long CLOSE_SECONDS = 5;

  private final Address address;
  // Of a unix socket; null where gRPC has its own.
  private final EventLoopGroup loop;
  private final ManagedChannel managed;
  private final Channel channel;
  // gRPC's own threads are as many as there are streams that are cut at once.
  private final io.grpc.CallOptions callOptions =
      io.grpc.CallOptions.DEFAULT.withExecutor(Workers.few("assetd-answer-"));

  Connection(
      Address address, ChannelCredentials credentials, List<ClientInterceptor> interceptors) {
    this.address = address;
    this.loop = address.socketPath() == null ? null : newLoop(address);
    this.managed =
        builder(credentials)
            // Calls are repeated in Retry and nowhere else, whatever a service config says.
            .disableRetry()
            .disableServiceConfigLookUp()
            // A daemon is on this node: a proxy of the program's is not about it.
            .proxyDetector(server -> null)
            .keepAliveTime(PING_INTERVAL_SECONDS, TimeUnit.SECONDS)
            .keepAliveTimeout(PING_TIMEOUT_SECONDS, TimeUnit.SECONDS)
            .build();
    this.channel = ClientInterceptors.intercept(managed, interceptors);
  }

  private static EventLoopGroup newLoop(Address address) {
    if (!Epoll.isAvailable()) {
      throw new IllegalArgumentException(
          "cannot dial " + address.target() + ": unix sockets need Linux here; elsewhere the daemon "
              + "has to listen on a loopback host:port",
          Epoll.unavailabilityCause());
    }
    return new EpollEventLoopGroup(1, new DefaultThreadFactory("assetd-connection", true));
  }

  private NettyChannelBuilder builder(ChannelCredentials credentials) {
    if (loop == null) {
      ChannelCredentials used =
          credentials == null ? InsecureChannelCredentials.create() : credentials;
      return NettyChannelBuilder.forTarget("dns:///" + address.target(), used);
    }
    return NettyChannelBuilder.forAddress(
            new DomainSocketAddress(address.socketPath()), InsecureChannelCredentials.create())
        .eventLoopGroup(loop)
        .channelType(EpollDomainSocketChannel.class, DomainSocketAddress.class)
        // gRPC sets it for TCP, and Netty would warn that a unix socket has none.
        .withOption(ChannelOption.SO_KEEPALIVE, null)
        .overrideAuthority("localhost");
  }

  Address address() {
    return address;
  }

  Channel channel() {
    return channel;
  }

  /** Begins a call, of whatever kind, with nothing said yet. */
  <Q, R> MessageStream<Q, R> open(MethodDescriptor<Q, R> method, Call owner) {
    return new MessageStream<>(newCall(method), owner, address);
  }

  /** Begins a call that nobody waits for; it is listened to in threads that may not wait. */
  <Q, R> MessageStream<Q, R> open(
      MethodDescriptor<Q, R> method,
      Call owner,
      Consumer<R> onMessage,
      Consumer<AssetdException> onEnd) {
    return new MessageStream<>(newCall(method), owner, address, onMessage, onEnd);
  }

  private <Q, R> ClientCall<Q, R> newCall(MethodDescriptor<Q, R> method) {
    if (managed.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
      // gRPC would fail this call by its memory of the last try, which it repeats after a second to
      // two minutes: a daemon that is back would not be noticed. Idle, it dials for this call.
      managed.enterIdle();
    }
    return channel.newCall(method, callOptions);
  }

  /** Makes a call that may be made twice, repeating it as the policy says. */
  <Q, R> R ask(MethodDescriptor<Q, R> method, Q request, Call owner) {
    for (; ; ) {
      owner.check();
      MessageStream<Q, R> stream = open(method, owner);
      try {
        stream.sendLast(request);
        R answer = stream.next(Times.FOREVER);
        if (answer == null) {
          throw AssetdException.internal("the daemon ended the call without an answer", Map.of());
        }
        // Behind the answer comes the status, which is the call's.
        stream.finish();
        return answer;
      } catch (CutException cut) {
        owner.retry().waitOrThrow(cut.failure(), owner);
      } finally {
        stream.cancel();
      }
    }
  }

  /** Ends all calls; idempotent. */
  @Override
  public void close() {
    managed.shutdownNow();
    try {
      // So that the daemon is told before the process may end.
      managed.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException hurry) {
      Thread.currentThread().interrupt();
    }
    if (loop != null) {
      loop.shutdownGracefully(0, CLOSE_SECONDS, TimeUnit.SECONDS);
    }
  }
}

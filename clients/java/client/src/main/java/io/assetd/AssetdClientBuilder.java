package io.assetd;

import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** What a client is told. */
public final class AssetdClientBuilder {
  String address;
  String caller = standardCaller();
  RetryPolicy policy = RetryPolicy.DEFAULT;
  Path assetsDir;
  ChannelCredentials credentials;
  final List<ClientInterceptor> interceptors = new ArrayList<>();
  Map<String, String> environment = System.getenv();
  Seams seams = Seams.REAL;

  AssetdClientBuilder() {}

  /**
   * Says where the daemon is.
   *
   * @param target {@code unix:///path} or {@code host:port}; beyond loopback with {@link
   *     #credentials} only
   * @return this builder
   */
  public AssetdClientBuilder address(String target) {
    address = target;
    return this;
  }

  /**
   * Says who is asking, for the daemon's logs and status. Grants nothing. Without it, the
   * program's main class and process id.
   *
   * @param name such as {@code ranker-server}
   * @return this builder
   */
  public AssetdClientBuilder caller(String name) {
    caller = name;
    return this;
  }

  /**
   * Says how patient to be with a daemon that is UNAVAILABLE.
   *
   * @param patience the policy
   * @return this builder
   */
  public AssetdClientBuilder retry(RetryPolicy patience) {
    policy = patience;
    return this;
  }

  /**
   * Says where this process sees the daemon's ASSETS_DIR, for paths of a daemon that has it
   * elsewhere. Without it, what the environment variable ASSETS_DIR says, else
   * MODELKIT_ASSETS_DIR.
   *
   * @param folder the folder; an empty path: nowhere
   * @return this builder
   */
  public AssetdClientBuilder assetsDir(Path folder) {
    assetsDir = folder;
    return this;
  }

  /**
   * Talks to a {@code host:port} by these credentials; unix sockets need none.
   *
   * @param channelCredentials such as {@link io.grpc.TlsChannelCredentials}
   * @return this builder
   */
  public AssetdClientBuilder credentials(ChannelCredentials channelCredentials) {
    credentials = channelCredentials;
    return this;
  }

  /**
   * Has every call pass through an interceptor of gRPC, such as for a token.
   *
   * @param interceptor called before those that were added earlier
   * @return this builder
   */
  public AssetdClientBuilder intercept(ClientInterceptor interceptor) {
    interceptors.add(interceptor);
    return this;
  }

  /** Puts a test's own in the place of the variables of this process. */
  AssetdClientBuilder environment(Map<String, String> variables) {
    environment = variables;
    return this;
  }

  /** Puts a test's own in the place of time and chance. */
  AssetdClientBuilder seams(Seams own) {
    seams = own;
    return this;
  }

  /**
   * Makes the client, and dials nothing yet. The caller closes it.
   *
   * @return a client
   * @throws IllegalArgumentException if the address is none, or there is no default
   */
  public AssetdClient build() {
    return new AssetdClient(this);
  }

  private static String standardCaller() {
    String command = System.getProperty("sun.java.command", "java").split(" ", 2)[0];
    String name = command.substring(command.lastIndexOf('/') + 1);
    return name + "[" + ProcessHandle.current().pid() + "]";
  }
}

package io.assetd;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** Time that passes by pauses alone, and no chance: what a client would have waited is noted. */
class Impatient implements Seams {
  final List<Long> pausedMillis = new CopyOnWriteArrayList<>();
  private volatile long now;

  @Override
  public long now() {
    return now;
  }

  @Override
  public double jitter() {
    return 1;
  }

  @Override
  public void pause(long nanos, Call call) {
    pausedMillis.add(nanos / 1_000_000);
    now += nanos;
  }

  @Override
  public Future<?> pause(long nanos, Runnable then, ScheduledExecutorService timer) {
    pausedMillis.add(nanos / 1_000_000);
    now += nanos;
    return timer.schedule(then, 0, TimeUnit.NANOSECONDS);
  }

  AssetdClient client(ScriptedDaemon daemon) {
    return client(daemon.address(), RetryPolicy.DEFAULT);
  }

  AssetdClient client(String address, RetryPolicy policy) {
    return AssetdClient.builder()
        .address(address)
        .caller("tester")
        .retry(policy)
        .environment(Map.of())
        .seams(this)
        .build();
  }
}

package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;

class RetryTest {
  private long now;
  private final Seams seams =
      new Seams() {
        @Override
        public long now() {
          return now;
        }

        @Override
        public double jitter() {
          return 1;
        }
      };
  private final AssetdException away = new DaemonUnavailableException("away", Map.of(), null, null);
  private final AssetdException busy =
      AssetdException.own("busy", Reason.LOCK_BUSY, Status.Code.UNAVAILABLE, Map.of());

  private Retry retry(Duration timeout) {
    return new Retry(RetryPolicy.DEFAULT, new Deadline(timeout, seams), seams);
  }

  private long pausedMillis(Retry retry, AssetdException failure) {
    long nanos = retry.delayOrThrow(failure, false);
    now += nanos;
    return nanos / 1_000_000;
  }

  private long allMillis(Retry retry, AssetdException failure) {
    long sum = 0;
    try {
      for (; ; ) {
        sum += pausedMillis(retry, failure);
      }
    } catch (AssetdException believed) {
      assertSame(failure, believed);
      return sum;
    }
  }

  /** The pauses double up to a limit, and half of each is left to chance. */
  @Test
  void pauses() {
    Retry retry = retry(null);
    retry.answered(0);
    for (long millis : new long[] {100, 200, 400, 800, 1600, 2000, 2000}) {
      assertEquals(millis, pausedMillis(retry, busy));
    }
    assertEquals(50_000_000, RetryPolicy.DEFAULT.delayNanos(1, 0));
    assertEquals(2_000_000_000, RetryPolicy.DEFAULT.delayNanos(1_000_000, 1));
  }

  /** A daemon that never answered is waited for for 1.5 s, one that did for 15 s. */
  @Test
  void patience() {
    assertEquals(1500, allMillis(retry(null), away));
    assertEquals(13_100, allMillis(retry(null), busy));
    Retry answered = retry(null);
    answered.answered(0);
    assertEquals(13_100, allMillis(answered, away));
  }

  /** A call that comes further has all patience again; an answer alone is no reason. */
  @Test
  void comesFurther() {
    Retry retry = retry(null);
    retry.answered(10);
    assertEquals(13_100, allMillis(retry, busy));
    retry.answered(10);
    assertThrows(AssetdException.class, () -> retry.delayOrThrow(busy, false));
    retry.answered(11);
    assertEquals(100, pausedMillis(retry, busy));
  }

  /** A pause that would outlast the deadline is not begun. */
  @Test
  void deadline() {
    assertEquals(300, allMillis(retry(Duration.ofMillis(700)), away));
    assertEquals(0, allMillis(retry(Duration.ofMillis(100)), away));
  }

  /** A daemon's own word is believed, unless the caller knows better. */
  @Test
  void otherCodes() {
    AssetdException gone =
        AssetdException.own("gone", Reason.NOT_CACHED, Status.Code.NOT_FOUND, Map.of());
    assertSame(
        gone,
        assertThrows(AssetdException.class, () -> retry(null).delayOrThrow(gone, false)));
    assertEquals(100_000_000, retry(null).delayOrThrow(gone, true));
  }

  /** What the daemon asks for comes on top, and for ever is for ever. */
  @Test
  void asked() {
    AssetdException asking =
        new AssetdException(
            "wait", Reason.LOCK_BUSY, Status.Code.UNAVAILABLE, Map.of(), Duration.ofSeconds(1), null);
    assertEquals(1100, pausedMillis(retry(null), asking));
    Retry endless =
        new Retry(RetryPolicy.DEFAULT.endless(), new Deadline(null, seams), seams);
    for (int failures = 0; failures < 10_000; failures++) {
      assertTrue(pausedMillis(endless, away) <= 2000);
    }
  }

  /** Only the daemon's own word ends a hold, and only if it is not about room. */
  @Test
  void passing() {
    AssetdException full =
        AssetdException.own("full", Reason.CACHE_FULL, Status.Code.RESOURCE_EXHAUSTED, Map.of());
    AssetdException cut = AssetdException.own("cut", "", Status.Code.UNKNOWN, Map.of());
    AssetdException gone =
        AssetdException.own("gone", Reason.VERSION_NOT_FOUND, Status.Code.NOT_FOUND, Map.of());
    assertEquals(Status.Code.UNAVAILABLE, Retry.passing(full).code());
    assertEquals(Status.Code.UNAVAILABLE, Retry.passing(cut).code());
    assertSame(gone, Retry.passing(gone));
  }

  /** A patience that is negative is a mistake. */
  @Test
  void negative() {
    assertThrows(
        IllegalArgumentException.class,
        () -> RetryPolicy.DEFAULT.withPatience(Duration.ofMillis(-1)));
  }
}

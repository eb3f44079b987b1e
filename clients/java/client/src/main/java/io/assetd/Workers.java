package io.assetd;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/**
 * The threads of a client, and the calls that they make. A call has a thread while it goes on; holds
 * share a few.
 */
final class Workers implements AutoCloseable {
  private static final AtomicInteger THREADS = new AtomicInteger();
  // What a crowd of callers leaves behind is gone soon.
  private static final long IDLE_SECONDS = 5;
  private static final int FEW = 4;

  private final RetryPolicy policy;
  private final Seams seams;
  private final Set<Call> calls = ConcurrentHashMap.newKeySet();
  private final ExecutorService executor =
      new ThreadPoolExecutor(
          0,
          Integer.MAX_VALUE,
          IDLE_SECONDS,
          TimeUnit.SECONDS,
          new SynchronousQueue<>(),
          named("assetd-call-"));
  private final Executor background = few("assetd-hold-");
  private final ScheduledThreadPoolExecutor timer =
      new ScheduledThreadPoolExecutor(1, named("assetd-timer-"));
  private volatile boolean isClosed;

  Workers(RetryPolicy policy, Seams seams) {
    this.policy = policy;
    this.seams = seams;
    timer.setKeepAliveTime(IDLE_SECONDS, TimeUnit.SECONDS);
    timer.allowCoreThreadTimeOut(true);
    timer.setRemoveOnCancelPolicy(true);
  }

  private static ThreadFactory named(String prefix) {
    return work -> {
      Thread thread = new Thread(work, prefix + THREADS.incrementAndGet());
      thread.setDaemon(true);
      return thread;
    };
  }

  /**
   * Returns a few threads for what may not be waited for, however much that is at once. They go when
   * there is nothing to do, and are never shut down.
   */
  static Executor few(String prefix) {
    ThreadPoolExecutor threads =
        new ThreadPoolExecutor(
            FEW, FEW, IDLE_SECONDS, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), named(prefix));
    threads.allowCoreThreadTimeOut(true);
    return threads;
  }

  /** What a call does in its thread. */
  interface Task<T> {
    /** Returns the answer of the call; what it throws, the call fails with. */
    T run(Call call) throws Exception;
  }

  /**
   * Makes a call, which ends when its future is completed by somebody else, or with the client.
   *
   * @throws IllegalStateException if the client is closed
   * @throws IllegalArgumentException if the timeout is negative
   */
  <T> CompletableFuture<T> begin(Duration timeout, Task<T> task) {
    Deadline deadline = new Deadline(timeout, seams);
    Call call = new Call(deadline, new Retry(policy, deadline, seams), Traces.headers());
    CompletableFuture<T> future = new CompletableFuture<>();
    future.whenComplete(
        (answer, thrown) -> call.abort(new CancellationException("the caller left")));
    calls.add(call);
    try {
      executor.execute(() -> run(task, call, future));
    } catch (RejectedExecutionException closed) {
      calls.remove(call);
      throw new IllegalStateException("this client is closed: make another one", closed);
    }
    if (isClosed) {
      abort(call);
    }
    return future;
  }

  private <T> void run(Task<T> task, Call call, CompletableFuture<T> future) {
    try {
      call.check();
      T answer = task.run(call);
      if (!future.complete(answer) && answer instanceof Hold unwanted) {
        unwanted.close();
      }
    } catch (Throwable thrown) {
      // Whatever it is, nobody else would be told. Of a call that was ended, gRPC may say anything.
      future.completeExceptionally(call.causeOr(thrown));
    } finally {
      calls.remove(call);
    }
  }

  /** Returns a call that is nobody's, for what goes on behind the answer of this one. */
  Call behind(Call call) {
    return new Call(new Deadline(null, seams), endlessRetry(), call.headers());
  }

  /** Returns what is as patient as somebody who has the version, and loses it by giving up. */
  Retry endlessRetry() {
    return new Retry(policy.endless(), new Deadline(null, seams), seams);
  }

  /** Does something soon, in one of a few threads. */
  void inBackground(Runnable work) {
    background.execute(work);
  }

  /** Pauses without a thread, and does something then; not, once the client is closed. */
  Future<?> pause(long nanos, Runnable then) {
    return unlessClosed(() -> seams.pause(nanos, () -> inBackground(then), timer));
  }

  /** Does something that is quick in so many nanoseconds, unless the client is closed by then. */
  Future<?> schedule(long nanos, Runnable then) {
    return unlessClosed(() -> timer.schedule(then, nanos, TimeUnit.NANOSECONDS));
  }

  private static Future<?> unlessClosed(Supplier<Future<?>> begin) {
    try {
      return begin.get();
    } catch (RejectedExecutionException closed) {
      // Whatever it was for ends with the client.
      return CompletableFuture.completedFuture(null);
    }
  }

  /** Waits for a call, see {@link AssetdClient#await}. */
  static <T> T await(CompletableFuture<T> future) {
    try {
      return future.get();
    } catch (InterruptedException interrupted) {
      future.cancel(true);
      Thread.currentThread().interrupt();
      throw new CancellationException("this thread was interrupted");
    } catch (ExecutionException failed) {
      Throwable cause = failed.getCause();
      if (cause instanceof IOException unreadable) {
        throw new UncheckedIOException(unreadable);
      }
      if (cause instanceof RuntimeException failure) {
        throw failure;
      }
      throw new CompletionException(cause);
    }
  }

  Executor executor() {
    return executor;
  }

  /** Ends all calls; idempotent. */
  @Override
  public void close() {
    isClosed = true;
    // First, so that a call that wants a thread for its work knows why it gets none.
    calls.forEach(Workers::abort);
    executor.shutdown();
    timer.shutdownNow();
  }

  private static void abort(Call call) {
    call.abort(new CancellationException("this client was closed while it called"));
  }
}

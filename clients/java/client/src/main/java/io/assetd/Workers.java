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
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;

/** The threads of a client, and the calls that they make. A call has a thread while it goes on. */
final class Workers implements AutoCloseable {
  private static final AtomicInteger THREADS = new AtomicInteger();

  private final RetryPolicy policy;
  private final Seams seams;
  private final Set<Call> calls = ConcurrentHashMap.newKeySet();
  private final ExecutorService executor =
      Executors.newCachedThreadPool(
          work -> {
            Thread thread = new Thread(work, "assetd-call-" + THREADS.incrementAndGet());
            thread.setDaemon(true);
            return thread;
          });
  private volatile boolean isClosed;

  Workers(RetryPolicy policy, Seams seams) {
    this.policy = policy;
    this.seams = seams;
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

  /** Does something in a thread that may wait; nothing, once the client is closed. */
  void inBackground(Runnable work) {
    try {
      executor.execute(work);
    } catch (RejectedExecutionException closed) {
      // Whatever it was, it ended with the client.
      return;
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
    executor.shutdown();
    calls.forEach(Workers::abort);
  }

  private static void abort(Call call) {
    call.abort(new CancellationException("this client was closed while it called"));
  }
}

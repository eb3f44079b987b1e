package io.assetd;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.function.Consumer;

/**
 * One open call of gRPC, of whatever kind. It is read message by message by one thread, and then over
 * when {@code next} gave null or threw, or after {@code cancel}; or it is listened to without one.
 */
final class MessageStream<Q, R> {
  /**
   * What a stream is given once its time is over, and before it is cut: a process that stood still
   * has not read yet what arrived meanwhile.
   */
  static final long GRACE_NANOS = 250_000_000;

  private final ClientCall<Q, R> call;
  private final Call owner;
  private final Address address;
  private final Queue<R> messages = new ArrayDeque<>();
  private boolean isCancelled;
  private boolean hasEnded;
  // Why it ended; null for a good end.
  private AssetdException failure;
  // Both are told of a stream that nobody reads, or not any more; null while somebody does.
  private Consumer<R> onMessage;
  private Consumer<AssetdException> onEnd;

  /** Opens it; it ends with the owner, unless that hands it over. */
  MessageStream(ClientCall<Q, R> call, Call owner, Address address) {
    this(call, owner, address, null, null);
  }

  /**
   * Opens it to be listened to, one event at a time, in a thread that may not wait: {@code onEnd} is
   * told why it ended, once, and behind all messages; null: no failure.
   */
  MessageStream(
      ClientCall<Q, R> call,
      Call owner,
      Address address,
      Consumer<R> onMessage,
      Consumer<AssetdException> onEnd) {
    this.call = call;
    this.owner = owner;
    this.address = address;
    this.onMessage = onMessage;
    this.onEnd = onEnd;
    Metadata headers = new Metadata();
    headers.merge(owner.headers());
    call.start(new Listener(), headers);
    // One message at a time: a slow reader gets the newest, and misses those between.
    call.request(1);
    owner.owns(this);
  }

  /** Sends the only message of the client. */
  void sendLast(Q message) {
    send(message);
    endSending();
  }

  /** Sends a message; nothing, if the stream has ended: gRPC takes none behind a `cancel`. */
  synchronized void send(Q message) {
    if (!hasEnded && !isCancelled) {
      call.sendMessage(message);
    }
  }

  /** Says that the client sends no more; once. */
  synchronized void endSending() {
    if (!hasEnded && !isCancelled) {
      call.halfClose();
    }
  }

  /** Ends the call, if it has not ended. */
  synchronized void cancel() {
    isCancelled = true;
    call.cancel("the caller left", null);
    // Whoever waits looks whether its call was ended.
    notifyAll();
  }

  /** Ends the call because it was silent for so long, if it has not ended. */
  synchronized void stall(long silenceNanos) {
    if (!hasEnded && failure == null) {
      failure = Failures.stalled(address, silenceNanos);
      cancel();
    }
  }

  /**
   * Waits for the next message; null at the end of a call that succeeded.
   *
   * @throws CutException if the call failed, or was silent for so many nanoseconds
   * @throws RuntimeException why the owner was ended, or that its time is over
   */
  R next(long silenceNanos) throws CutException {
    R message;
    synchronized (this) {
      await(false, silenceNanos);
      message = messages.poll();
      if (message == null) {
        checkEnd();
        return null;
      }
    }
    call.request(1);
    return message;
  }

  /**
   * Waits until there is something to read or a message can be sent, and tells whether one can: not
   * as long as there is something to read.
   */
  synchronized boolean awaitReady() throws CutException {
    await(true, Times.FOREVER);
    return messages.isEmpty() && !hasEnded;
  }

  /** Waits until something can be read; with {@code orReady}, until something can be sent, too. */
  private void await(boolean orReady, long silenceNanos) throws CutException {
    long begin = System.nanoTime();
    long limit = silenceNanos;
    boolean isGraceGiven = false;
    while (messages.isEmpty() && !hasEnded && !(orReady && call.isReady())) {
      owner.check();
      long left = limit == Times.FOREVER ? limit : limit - (System.nanoTime() - begin);
      if (left <= 0 && isGraceGiven) {
        stall(silenceNanos);
        throw new CutException(failure);
      }
      if (left <= 0) {
        isGraceGiven = true;
        begin = System.nanoTime();
        limit = GRACE_NANOS;
        left = limit;
      }
      // At least a moment, since `wait(0)` is for ever.
      waitFor(Math.min(left, owner.nanosLeft()));
    }
  }

  private void waitFor(long nanos) {
    try {
      wait(nanos / 1_000_000 + 1);
    } catch (InterruptedException ours) {
      // Nobody has the threads of a client but the client itself.
      throw new IllegalStateException(ours);
    }
  }

  private void checkEnd() throws CutException {
    // Whatever the end of the owner made of the stream: the cause is known there.
    if (failure != null) {
      owner.check();
      throw new CutException(failure);
    }
  }

  /** Reads to the end, which has to be a good one. */
  void finish() throws CutException {
    while (next(Times.FOREVER) != null) {
      // A unary call has one answer; what a daemon of later days adds is not for us.
    }
  }

  /** Reads to the end, whatever that is: the call has brought what it was made for. */
  void drain(long silenceNanos) {
    try {
      while (next(silenceNanos) != null) {
        // What comes behind an answer is not wanted.
      }
    } catch (CutException | RuntimeException whatever) {
      cancel();
    }
  }

  /** Reads no more: {@code told} is told why the stream ended, once, when it does; null: no failure. */
  void rest(Consumer<AssetdException> told) {
    synchronized (this) {
      messages.clear();
      if (!hasEnded) {
        onMessage = unwanted -> {};
        onEnd = told;
        call.request(1);
        return;
      }
    }
    told.accept(failure);
  }

  private final class Listener extends ClientCall.Listener<R> {
    @Override
    public void onMessage(R message) {
      Consumer<R> told;
      synchronized (MessageStream.this) {
        told = onMessage;
        if (told == null) {
          messages.add(message);
          MessageStream.this.notifyAll();
          return;
        }
      }
      told.accept(message);
      call.request(1);
    }

    @Override
    public void onReady() {
      synchronized (MessageStream.this) {
        MessageStream.this.notifyAll();
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      Consumer<AssetdException> told;
      AssetdException why = status.isOk() ? null : Failures.read(status, trailers, address);
      synchronized (MessageStream.this) {
        hasEnded = true;
        // One that was cut for its silence ends as it was cut.
        failure = failure == null ? why : failure;
        why = failure;
        told = onEnd;
        MessageStream.this.notifyAll();
      }
      if (told != null) {
        told.accept(why);
      }
    }
  }
}

package io.assetd;

import io.assetd.v1.AssetServiceGrpc;
import io.assetd.v1.PushCompleted;
import io.assetd.v1.PushHeader;
import io.assetd.v1.PushRequest;
import io.assetd.v1.PushResponse;
import io.assetd.v1.PushWanted;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;

/**
 * A push of some content under one header, over all its streams: the two sides take turns, as the
 * contract draws it.
 *
 * <p>All files are announced before the first chunk, so that the daemon knows the whole version when
 * bytes begin to arrive. The push id makes repeating it safe.
 */
final class Pusher {
  private final Connection connection;
  private final PushHeader header;
  private final Content content;
  private final PushMeter meter;
  private final Call call;

  Pusher(Connection connection, PushHeader header, Content content, PushMeter meter, Call call) {
    this.connection = connection;
    this.header = header;
    this.content = content;
    this.meter = meter;
    this.call = call;
  }

  /**
   * Creates the version, or nothing; cut streams are continued.
   *
   * <p>Each try is the same push under the same push id, and sends what the daemon then wants. Leaves
   * no call behind when anything is thrown: the daemon then gives the version up.
   *
   * @throws AssetdException if the push failed, or the source is not what was hashed
   * @throws IOException if the source cannot be read
   */
  PushCompleted run() throws IOException {
    for (boolean wasCut = false; ; wasCut = true) {
      call.check();
      try {
        return follow();
      } catch (CutException cut) {
        AssetdException failure = cut.failure();
        if (failure.is(Reason.PUSH_MISMATCH)) {
          // The daemon sees other bytes than it was told; we can tell whose doing that is.
          content.checkUnchanged();
        }
        call.retry().waitOrThrow(failure, call, passes(failure, wasCut));
      }
    }
  }

  /**
   * Tells whether the push that is in progress is an earlier try of this one, whose stream the daemon
   * does not know to be dead yet. A daemon that names the push which is in the way is believed; else
   * it is ours, if there was such a stream.
   */
  private boolean passes(AssetdException failure, boolean wasCut) {
    if (!failure.is(Reason.PUSH_IN_PROGRESS)) {
      return false;
    }
    String id = failure.metadata().getOrDefault("push_id", "");
    return id.isEmpty() ? wasCut : id.equals(header.getPushId());
  }

  private PushCompleted follow() throws CutException, IOException {
    MessageStream<PushRequest, PushResponse> stream =
        connection.open(AssetServiceGrpc.getPushMethod(), call);
    Turns turns = new Turns();
    try {
      for (; ; ) {
        PushResponse response = turns.sendUntilAnswered(stream);
        if (response == null) {
          throw AssetdException.internal("the daemon ended the push without an answer", Map.of());
        }
        meter.observe(response);
        call.retry().answered(meter.furthest());
        if (response.hasCompleted()) {
          // The status comes right behind. Whatever it says, the version exists.
          stream.endSending();
          stream.drain(Times.nanos(RetryPolicy.DEFAULT.stallTimeout()));
          return response.getCompleted();
        }
        turns.take(response);
      }
    } finally {
      stream.cancel();
      turns.end();
    }
  }

  /** The client's turns on one stream. */
  private final class Turns {
    private final Queue<PushRequest> batches = content.batches();
    private final List<PushWanted.Part> wanted = new ArrayList<>();
    private Content.Turn turn = Content.Turn.of(PushRequest.newBuilder().setHeader(header).build());

    /** Sends, as fast as the daemon takes it, until the daemon says something; null: it ended. */
    PushResponse sendUntilAnswered(MessageStream<PushRequest, PushResponse> stream)
        throws CutException, IOException {
      while (turn != null && stream.awaitReady()) {
        call.check();
        PushRequest request = turn.next();
        if (request == null) {
          end();
        } else {
          stream.send(request);
        }
      }
      return stream.next(Times.FOREVER);
    }

    /** Takes the next turn, if this answer gives it to the client. */
    void take(PushResponse response) throws IOException {
      if (response.hasWanted()) {
        wanted.addAll(response.getWanted().getPartsList());
      } else if (!response.hasAccepted()) {
        return;
      }
      end();
      if (!batches.isEmpty()) {
        turn = Content.Turn.of(batches.remove());
        return;
      }
      content.lackingBytes(wanted).ifPresent(meter::lacks);
      turn = content.lastTurn(wanted);
    }

    void end() throws IOException {
      if (turn != null) {
        turn.close();
        turn = null;
      }
    }
  }
}

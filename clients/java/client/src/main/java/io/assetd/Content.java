package io.assetd;

import io.assetd.v1.PushCommit;
import io.assetd.v1.PushRequest;
import io.assetd.v1.PushWanted;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.List;
import java.util.OptionalLong;
import java.util.Queue;

/** What a push is of, as the requests of the client's turns. Sends none. */
interface Content {
  /** What the daemon finds where the header says: nothing is announced, and nothing travels. */
  Content FOUND =
      new Content() {
        @Override
        public Queue<PushRequest> batches() {
          return new ArrayDeque<>();
        }

        @Override
        public OptionalLong lackingBytes(List<PushWanted.Part> wanted) {
          return OptionalLong.empty();
        }

        @Override
        public Turn lastTurn(List<PushWanted.Part> wanted) {
          // The digest is for the daemon to find.
          return Turn.of(commit(""));
        }

        @Override
        public void checkUnchanged() {}
      };

  /** Returns all files, at most 1,000 a message. */
  Queue<PushRequest> batches();

  /**
   * Returns how many bytes travel if that is wanted; empty where none ever do.
   *
   * @throws AssetdException {@code INTERNAL} if something is wanted that was not announced
   */
  OptionalLong lackingBytes(List<PushWanted.Part> wanted);

  /** Returns the chunks of what is wanted, read as they are taken, and the commit. */
  Turn lastTurn(List<PushWanted.Part> wanted);

  /** Throws {@code SOURCE_CHANGED} if the source differs from what was hashed. */
  void checkUnchanged();

  /** What the client has to say until the daemon answers. Whoever has it closes it. */
  interface Turn extends AutoCloseable {
    /**
     * Returns the next message; null at the end.
     *
     * @throws AssetdException {@code SOURCE_CHANGED} if the source is not what was hashed
     * @throws IOException if it cannot be read
     */
    PushRequest next() throws IOException;

    @Override
    default void close() throws IOException {}

    /** Returns the turn of these messages. */
    static Turn of(PushRequest... messages) {
      Queue<PushRequest> left = new ArrayDeque<>(List.of(messages));
      return left::poll;
    }
  }

  /** Returns the last message of a push. */
  static PushRequest commit(String digest) {
    return PushRequest.newBuilder().setCommit(PushCommit.newBuilder().setDigest(digest)).build();
  }
}

package io.assetd;

import com.google.protobuf.UnsafeByteOperations;
import io.assetd.v1.PushChunk;
import io.assetd.v1.PushFile;
import io.assetd.v1.PushFiles;
import io.assetd.v1.PushRequest;
import io.assetd.v1.PushWanted;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Queue;

/** A push of a source that was hashed. */
final class LocalContent implements Content {
  private static final int FILES_PER_MESSAGE = 1000;

  private final LocalSource source;
  private final Hashing.Digests digests;
  private final boolean isSent;
  private final Map<String, SourceFile> files = new HashMap<>();

  /** Unless it is sent, it is announced, and no byte of it travels. */
  LocalContent(LocalSource source, Hashing.Digests digests, boolean isSent) {
    this.source = source;
    this.digests = digests;
    this.isSent = isSent;
    source.files().forEach(file -> files.put(file.path(), file));
  }

  @Override
  public Queue<PushRequest> batches() {
    Queue<PushRequest> batches = new ArrayDeque<>();
    List<SourceFile> all = source.files();
    for (int start = 0; start < all.size(); start += FILES_PER_MESSAGE) {
      PushFiles.Builder batch = PushFiles.newBuilder();
      for (SourceFile file : all.subList(start, Math.min(start + FILES_PER_MESSAGE, all.size()))) {
        batch.addFiles(
            PushFile.newBuilder()
                .setPath(file.path())
                .setSizeBytes(file.sizeBytes())
                .setDigest(digests.of(file)));
      }
      batches.add(PushRequest.newBuilder().setFiles(batch).build());
    }
    return batches;
  }

  @Override
  public OptionalLong lackingBytes(List<PushWanted.Part> wanted) {
    long sum = 0;
    for (PushWanted.Part part : wanted) {
      sum += announced(part).sizeBytes() - part.getOffset();
    }
    return isSent ? OptionalLong.of(sum) : OptionalLong.empty();
  }

  private SourceFile announced(PushWanted.Part part) {
    SourceFile file = files.get(part.getPath());
    if (file == null) {
      throw AssetdException.internal(
          "the daemon wants \"" + part.getPath() + "\", which was not announced", Map.of());
    }
    return file;
  }

  @Override
  public Turn lastTurn(List<PushWanted.Part> wanted) {
    return new LastTurn(isSent ? wanted : List.of());
  }

  @Override
  public void checkUnchanged() {
    source.checkUnchanged();
  }

  private final class LastTurn implements Turn {
    private final Queue<PushWanted.Part> wanted;
    private boolean isCommitted;
    private PushWanted.Part part;
    private FileChunks chunks;

    LastTurn(List<PushWanted.Part> wanted) {
      this.wanted = new ArrayDeque<>(wanted);
    }

    @Override
    public PushRequest next() throws IOException {
      for (; ; ) {
        if (chunks != null) {
          PushRequest chunk = nextChunk();
          if (chunk != null) {
            return chunk;
          }
          close();
        }
        part = wanted.poll();
        if (part == null) {
          return commit();
        }
        chunks = new FileChunks(source, announced(part), part.getOffset());
      }
    }

    private PushRequest nextChunk() throws IOException {
      long offset = chunks.offset();
      long left = announced(part).sizeBytes() - offset;
      // A new one for each chunk, which gRPC may keep for longer than until it is sent.
      ByteBuffer data = ByteBuffer.allocate((int) Math.min(left, FileChunks.MAX_BYTES));
      if (!chunks.read(data)) {
        return null;
      }
      PushChunk.Builder chunk =
          PushChunk.newBuilder()
              .setPath(part.getPath())
              .setOffset(offset)
              .setData(UnsafeByteOperations.unsafeWrap(data));
      return PushRequest.newBuilder().setChunk(chunk).build();
    }

    private PushRequest commit() {
      if (isCommitted) {
        return null;
      }
      source.checkUnchanged();
      isCommitted = true;
      return Content.commit(digests.digest());
    }

    @Override
    public void close() throws IOException {
      if (chunks != null) {
        chunks.close();
        chunks = null;
      }
    }
  }
}

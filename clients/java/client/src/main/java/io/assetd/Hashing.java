package io.assetd;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongConsumer;

/** Reads a whole source once, on all processors, and tells its digests. */
final class Hashing {
  private static final long TELL_MILLIS = 100;
  private static final String PREFIX = "sha256:";

  private final LocalSource source;
  // The largest first: were it the last one, all others would be done long before.
  private final List<SourceFile> todo;
  private final AtomicInteger next = new AtomicInteger();
  private final AtomicLong hashedBytes = new AtomicLong();
  private final AtomicBoolean isStopped = new AtomicBoolean();
  private final Map<String, String> hexes = new ConcurrentHashMap<>();

  private Hashing(LocalSource source) {
    this.source = source;
    this.todo = new ArrayList<>(source.files());
    todo.sort(Comparator.comparingLong(SourceFile::sizeBytes).reversed());
  }

  /** What a source hashes to: the whole, and each file by its path. */
  record Digests(String digest, Map<String, String> files) {
    String of(SourceFile file) {
      return files.get(file.path());
    }
  }

  /**
   * Hashes the source; {@code told} gets the bytes hashed so far, now and then and at the end, in
   * the thread of the caller. What it throws ends the hashing, and so does the end of the call.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if a file is not, or did not stay, what was listed
   * @throws IOException if a file cannot be read
   */
  static Digests hash(LocalSource source, Executor executor, Call call, LongConsumer told)
      throws IOException {
    Hashing hashing = new Hashing(source);
    try {
      hashing.run(executor, call, told);
    } finally {
      hashing.isStopped.set(true);
    }
    told.accept(hashing.hashedBytes.get());
    return hashing.digests();
  }

  private void run(Executor executor, Call call, LongConsumer told) throws IOException {
    List<FutureTask<Void>> workers = new ArrayList<>();
    int count = Math.min(Runtime.getRuntime().availableProcessors(), todo.size());
    for (int started = 0; started < count; started++) {
      FutureTask<Void> worker = new FutureTask<>(this::work, null);
      workers.add(worker);
      executor.execute(worker);
    }
    for (FutureTask<Void> worker : workers) {
      while (!isDone(worker)) {
        call.check();
        told.accept(hashedBytes.get());
      }
    }
  }

  private static boolean isDone(FutureTask<Void> worker) throws IOException {
    try {
      worker.get(TELL_MILLIS, TimeUnit.MILLISECONDS);
      return true;
    } catch (TimeoutException later) {
      return false;
    } catch (ExecutionException failed) {
      if (failed.getCause() instanceof UncheckedFailure failure) {
        throw failure.cause;
      }
      if (failed.getCause() instanceof RuntimeException failure) {
        throw failure;
      }
      throw new IllegalStateException(failed.getCause());
    } catch (InterruptedException ours) {
      // Nobody has the threads of a client but the client itself.
      throw new IllegalStateException(ours);
    }
  }

  private static final class UncheckedFailure extends RuntimeException {
    private static final long serialVersionUID = 1;
    private final IOException cause;

    UncheckedFailure(IOException cause) {
      super(cause);
      this.cause = cause;
    }
  }

  private void work() {
    // One for all files: memory that is new for each read costs more than the reading.
    ByteBuffer buffer = ByteBuffer.allocateDirect(FileChunks.MAX_BYTES);
    try {
      for (int index = next.getAndIncrement();
          index < todo.size() && !isStopped.get();
          index = next.getAndIncrement()) {
        hashFile(todo.get(index), buffer);
      }
    } catch (IOException unreadable) {
      isStopped.set(true);
      throw new UncheckedFailure(unreadable);
    } catch (AssetdException changed) {
      isStopped.set(true);
      throw changed;
    }
  }

  private void hashFile(SourceFile file, ByteBuffer buffer) throws IOException {
    MessageDigest hash = sha256();
    try (FileChunks chunks = new FileChunks(source, file, 0)) {
      while (!isStopped.get() && chunks.read(buffer)) {
        hashedBytes.addAndGet(buffer.remaining());
        hash.update(buffer);
      }
    }
    hexes.put(file.path(), HexFormat.of().formatHex(hash.digest()));
  }

  private Digests digests() {
    Map<String, String> files = new ConcurrentHashMap<>();
    hexes.forEach((path, hex) -> files.put(path, PREFIX + hex));
    if (!source.isFolder()) {
      return new Digests(files.get(""), files);
    }
    MessageDigest lines = sha256();
    for (SourceFile file : source.files()) {
      // As `sha256sum` prints it, so that anyone can compute the digest of a folder.
      String line = hexes.get(file.path()) + "  " + file.path() + "\n";
      lines.update(line.getBytes(StandardCharsets.UTF_8));
    }
    return new Digests(PREFIX + HexFormat.of().formatHex(lines.digest()), files);
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }
}

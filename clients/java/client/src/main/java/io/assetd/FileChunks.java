package io.assetd;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SeekableByteChannel;

/** The bytes of one file from an offset on, a chunk at a time. Whoever has it closes it. */
final class FileChunks implements AutoCloseable {
  /** How much is read at a time, and the most that a chunk of a push may carry. */
  static final int MAX_BYTES = 1 << 20;

  private final SourceFile file;
  private final SeekableByteChannel channel;
  private long offset;

  /**
   * Opens the file.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if it is not what was listed
   * @throws IOException if it cannot be read from there
   */
  FileChunks(LocalSource source, SourceFile file, long offset) throws IOException {
    this.file = file;
    this.offset = offset;
    this.channel = source.open(file).position(offset);
  }

  long offset() {
    return offset;
  }

  /**
   * Fills the buffer from its begin with what comes next, at least one byte, and flips it; false at
   * the end of the file.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if the file did not stay what was listed
   * @throws IOException if it cannot be read
   */
  boolean read(ByteBuffer buffer) throws IOException {
    long left = file.sizeBytes() - offset;
    if (left <= 0) {
      LocalSource.compare(file);
      return false;
    }
    buffer.clear().limit((int) Math.min(buffer.capacity(), left));
    int count = channel.read(buffer);
    if (count <= 0) {
      throw LocalSource.changed(file.where());
    }
    offset += count;
    buffer.flip();
    return true;
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}

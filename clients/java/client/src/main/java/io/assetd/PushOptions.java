package io.assetd;

import io.assetd.v1.PushHeader;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** How a version is pushed. */
public final class PushOptions extends CallOptions<PushOptions> {
  private final PushHeader.Builder header = PushHeader.newBuilder();
  private final List<String> exclude = new ArrayList<>();
  private Consumer<? super PushProgress> onProgress = progress -> {};

  /** Which number a push raises, where its spec leaves the version open. */
  public enum Bump {
    /** 1.2 is followed by 1.3. A push does this by itself. */
    MINOR,
    /** 1.2 is followed by 2.0. */
    MAJOR
  }

  /** What must be true of an asset before a push. */
  public enum Mode {
    /** It does not exist, else {@link Reason#ASSET_EXISTS}. */
    NEW,
    /** It exists, else {@link Reason#ASSET_NOT_FOUND}. */
    UPDATE
  }

  /** Has the defaults. */
  public PushOptions() {}

  @Override
  PushOptions self() {
    return this;
  }

  PushHeader.Builder header() {
    return header.clone();
  }

  List<String> exclude() {
    return List.copyOf(exclude);
  }

  Consumer<? super PushProgress> onProgress() {
    return onProgress;
  }

  /**
   * Says which number to raise, for a spec without a version.
   *
   * @param bump the number
   * @return these options
   */
  public PushOptions bump(Bump bump) {
    header.setBump(PushHeader.Bump.valueOf("BUMP_" + bump));
    return this;
  }

  /**
   * Says what must be true of the asset beforehand. Without it: nothing.
   *
   * @param mode what must be true
   * @return these options
   */
  public PushOptions mode(Mode mode) {
    header.setMode(PushHeader.Mode.valueOf("MODE_" + mode));
    return this;
  }

  /**
   * Keeps a key and a value with the version, for ever.
   *
   * @param key 1 to 128 printable bytes
   * @param value at most 2,048 bytes
   * @return these options
   */
  public PushOptions label(String key, String value) {
    header.putLabels(key, value);
    return this;
  }

  /**
   * Keeps free keys and values with the version, at most 64. Given twice, they add up.
   *
   * @param labels as for {@link #label}
   * @return these options
   */
  public PushOptions labels(Map<String, String> labels) {
    header.putAllLabels(labels);
    return this;
  }

  /**
   * Leaves out files of the folder. What these match is not looked into, whatever it is; nor is a
   * folder of which {@code folder/**} leaves nothing. Given twice, the globs add up.
   *
   * @param globs such as {@code *.log}
   * @return these options
   */
  public PushOptions exclude(String... globs) {
    exclude.addAll(List.of(globs));
    return this;
  }

  /**
   * Checks all that can be checked, and creates nothing: the answer is the version that would be
   * created, and whether it is there already.
   *
   * @return these options
   */
  public PushOptions validateOnly() {
    header.setValidateOnly(true);
    return this;
  }

  /**
   * Names the push. Another push with the same name, after whatever failure, continues this one or
   * returns its answer. Without it, a push is a new one.
   *
   * @param id a UUID4 in its canonical form
   * @return these options
   */
  public PushOptions pushId(String id) {
    header.setPushId(id);
    return this;
  }

  /**
   * Is told how far the push is, hashing included. Called by a thread of the client, one call at a
   * time, and never after the push has brought its answer. What it throws ends the push.
   *
   * @param told gets the progress
   * @return these options
   */
  public PushOptions onProgress(Consumer<? super PushProgress> told) {
    onProgress = told;
    return this;
  }
}

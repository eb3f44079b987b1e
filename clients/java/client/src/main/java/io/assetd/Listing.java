package io.assetd;

import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Queue;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * The entries of a listing. Each iteration begins anew, and asks for a page when its first entry is
 * wanted: the iterator's {@code hasNext} then waits for the daemon, and throws an {@link
 * AssetdException} if the page could not be had. Pages show different moments.
 *
 * @param <T> an entry
 */
public final class Listing<T> implements Iterable<T> {
  private final Function<String, Page<T>> ask;
  private volatile List<Source> unreachable = List.of();

  /** One page, and the token of the next; empty at the end. */
  record Page<T>(List<T> entries, String nextPageToken, List<Source> unreachable) {}

  /** Asks for nothing yet; the function gives the page of a token. */
  Listing(Function<String, Page<T>> ask) {
    this.ask = ask;
  }

  /**
   * Returns what could not be asked, so that its versions are missing, as of the last page that
   * came; only for {@link ListOptions.Scope#ALL}.
   *
   * @return the places; empty if all were asked
   */
  public List<Source> unreachable() {
    return unreachable;
  }

  /**
   * Returns the entries as a sequential stream, which asks for a page when it is wanted.
   *
   * @return a new stream
   */
  public Stream<T> stream() {
    return StreamSupport.stream(spliterator(), false);
  }

  @Override
  public Iterator<T> iterator() {
    return new Pages();
  }

  private final class Pages implements Iterator<T> {
    private final Queue<T> entries = new ArrayDeque<>();
    // Null: there is no page left.
    private String nextPageToken = "";

    @Override
    public boolean hasNext() {
      // A page may be empty although it is not the last.
      while (entries.isEmpty() && nextPageToken != null) {
        Page<T> page = ask.apply(nextPageToken);
        unreachable = page.unreachable();
        entries.addAll(page.entries());
        nextPageToken = page.nextPageToken().isEmpty() ? null : page.nextPageToken();
      }
      return !entries.isEmpty();
    }

    @Override
    public T next() {
      if (!hasNext()) {
        throw new NoSuchElementException();
      }
      return entries.remove();
    }
  }
}

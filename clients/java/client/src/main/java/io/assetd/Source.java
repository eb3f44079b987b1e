package io.assetd;

/** Where bytes are or came from. */
public enum Source {
  /** A place of a newer daemon. */
  UNSPECIFIED,
  /** This node: no byte travelled. */
  CACHE,
  /** The object store. */
  STORE,
  /** The daemon of another node. */
  PEER
}

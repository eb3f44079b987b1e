package io.assetd;

import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * One version of an asset, which never changes, and what is known of it.
 *
 * @param name the asset's name, such as {@code nlp/ranker}
 * @param version the version in full, such as {@code 1.2}
 * @param kind whether it is one file or a directory
 * @param sizeBytes the sizes of all its files added up; empty when not known
 * @param fileCount how many files it holds; empty when not known
 * @param digest {@code sha256:} and 64 hex digits, the version's identity; empty when not known, as
 *     when modelkit pushed it
 * @param pushTime when it was pushed, by the clock of its pusher's daemon; empty when not known
 * @param labels what its push kept with it
 * @param pushedBy who the store says created it: a note for people, no proof
 */
public record AssetVersion(
    String name,
    String version,
    AssetKind kind,
    OptionalLong sizeBytes,
    OptionalInt fileCount,
    String digest,
    Optional<Instant> pushTime,
    Map<String, String> labels,
    String pushedBy) {}

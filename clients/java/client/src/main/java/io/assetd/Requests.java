package io.assetd;

import io.assetd.v1.AssetVersion;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.PushHeader;
import java.util.Map;
import java.util.UUID;
import java.util.regex.Pattern;

/** What the requests of the contract have to say. Knows no call. */
final class Requests {
  private static final Pattern UUID4 =
      Pattern.compile("[\\da-f]{8}-[\\da-f]{4}-4[\\da-f]{3}-[89ab][\\da-f]{3}-[\\da-f]{12}");

  private Requests() {}

  static io.assetd.v1.Freshness freshness(Freshness freshness) {
    return io.assetd.v1.Freshness.valueOf("FRESHNESS_" + freshness);
  }

  /** Returns the request for exactly this version, with the same part. */
  static FetchRequest pinned(FetchRequest request, AssetVersion version) {
    // Without a store, a path that is no asset is answered with an empty version.
    if (version.getVersion().isEmpty()) {
      return request;
    }
    int bracket = request.getSpec().indexOf('[');
    String part = bracket < 0 ? "" : request.getSpec().substring(bracket);
    String spec = version.getName() + ":" + version.getVersion() + part;
    return request.toBuilder().setSpec(spec).build();
  }

  /** Returns the request that holds once more what a fetch has brought. */
  static FetchRequest holdingAgain(FetchRequest request) {
    // Said once already: holding again is about the version that is here.
    return request.toBuilder().clearForceDownload().clearVerify().build();
  }

  /**
   * Names a push that has no name yet.
   *
   * @throws AssetdException {@code INVALID_FIELD} if its name is no UUID4 in its canonical form
   */
  static void name(PushHeader.Builder header, String spec) {
    header.setSpec(spec);
    String id = header.getPushId();
    if (id.isEmpty()) {
      header.setPushId(UUID.randomUUID().toString());
    } else if (!UUID4.matcher(id).matches()) {
      // As the daemon has it, who would see it only once everything is hashed.
      throw AssetdException.invalidField(
          "\"" + id + "\" is no UUID4 in its canonical form, so that no push has it",
          Map.of("field", "header.push_id", "push_id", id));
    }
  }
}

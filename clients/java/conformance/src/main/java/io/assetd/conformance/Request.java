package io.assetd.conformance;

import com.google.gson.FieldNamingPolicy;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.annotations.SerializedName;
import io.assetd.CallOptions;
import io.assetd.FetchOptions;
import io.assetd.Freshness;
import io.assetd.ListFilesOptions;
import io.assetd.ListOptions;
import io.assetd.PushOptions;
import io.assetd.ResolveOptions;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** What the suite may say; each action reads its own fields, and null is not given. */
final class Request {
  private static final Gson JSON =
      new GsonBuilder()
          .setFieldNamingPolicy(FieldNamingPolicy.LOWER_CASE_WITH_UNDERSCORES)
          .create();

  String id;

  @SerializedName("do")
  String what;

  String of;
  String spec;
  String source;
  String staged;
  String uri;
  String prefix;
  String freshness;
  Double storeTimeout;
  Double timeout;
  List<String> include;
  List<String> exclude;
  boolean partOnly;
  boolean verify;
  boolean forceDownload;
  String expectedDigest;
  Double progressInterval;
  String bump;
  String mode;
  Map<String, String> labels;
  String pushId;
  boolean validateOnly;
  String scope;
  boolean latestOnly;
  boolean full;
  Integer pageSize;
  Long limit;

  static Request of(String line) {
    return JSON.fromJson(line, Request.class);
  }

  private static Duration seconds(double number) {
    return Duration.ofNanos(Math.round(number * 1e9));
  }

  private static <T> void given(T value, Consumer<T> option) {
    if (value != null) {
      option.accept(value);
    }
  }

  private static String[] texts(List<String> values) {
    return values.toArray(String[]::new);
  }

  private <S extends CallOptions<S>> S limited(S options) {
    given(timeout, value -> options.timeout(seconds(value)));
    return options;
  }

  ResolveOptions resolveOptions() {
    ResolveOptions options = limited(new ResolveOptions());
    given(freshness, value -> options.freshness(Freshness.valueOf(value)));
    given(storeTimeout, value -> options.storeTimeout(seconds(value)));
    return options;
  }

  FetchOptions fetchOptions() {
    FetchOptions options = limited(new FetchOptions());
    given(freshness, value -> options.freshness(Freshness.valueOf(value)));
    given(storeTimeout, value -> options.storeTimeout(seconds(value)));
    given(include, value -> options.include(texts(value)));
    given(exclude, value -> options.exclude(texts(value)));
    given(expectedDigest, options::expectedDigest);
    given(progressInterval, value -> options.progressInterval(seconds(value)));
    if (partOnly) {
      options.partOnly();
    }
    if (verify) {
      options.verify();
    }
    if (forceDownload) {
      options.forceDownload();
    }
    return options;
  }

  PushOptions pushOptions() {
    PushOptions options = limited(new PushOptions());
    given(bump, value -> options.bump(PushOptions.Bump.valueOf(value)));
    given(mode, value -> options.mode(PushOptions.Mode.valueOf(value)));
    given(labels, options::labels);
    given(exclude, value -> options.exclude(texts(value)));
    given(pushId, options::pushId);
    if (validateOnly) {
      options.validateOnly();
    }
    return options;
  }

  ListOptions listOptions() {
    ListOptions options = limited(new ListOptions());
    given(scope, value -> options.scope(ListOptions.Scope.valueOf(value)));
    given(pageSize, options::pageSize);
    if (latestOnly) {
      options.latestOnly();
    }
    if (full) {
      options.full();
    }
    return options;
  }

  ListFilesOptions listFilesOptions() {
    ListFilesOptions options = limited(new ListFilesOptions());
    given(freshness, value -> options.freshness(Freshness.valueOf(value)));
    given(include, value -> options.include(texts(value)));
    given(exclude, value -> options.exclude(texts(value)));
    given(pageSize, options::pageSize);
    return options;
  }
}

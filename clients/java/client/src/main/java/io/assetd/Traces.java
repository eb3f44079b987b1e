package io.assetd;

import io.grpc.Metadata;
import io.opentelemetry.api.baggage.propagation.W3CBaggagePropagator;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapSetter;

/** The W3C trace context of the program, where it has OpenTelemetry. */
final class Traces {
  private static final boolean IS_PRESENT = isPresent();

  private Traces() {}

  private static boolean isPresent() {
    try {
      Class.forName("io.opentelemetry.context.Context", false, Traces.class.getClassLoader());
      Class.forName("io.opentelemetry.api.trace.Span", false, Traces.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException absent) {
      return false;
    }
  }

  /** Returns the headers of the current span of this thread; none without one. */
  static Metadata headers() {
    Metadata headers = new Metadata();
    if (IS_PRESENT) {
      Injection.into(headers);
    }
    return headers;
  }

  /** Apart, so that nothing of OpenTelemetry is loaded where it is absent. */
  private static final class Injection {
    private static final TextMapSetter<Metadata> SETTER =
        (headers, name, value) ->
            headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value);

    static void into(Metadata headers) {
      Context context = Context.current();
      // W3C's headers, whatever the program's propagator writes elsewhere: the daemon reads these.
      W3CTraceContextPropagator.getInstance().inject(context, headers, SETTER);
      W3CBaggagePropagator.getInstance().inject(context, headers, SETTER);
    }
  }
}

// Package assetdotel passes a program's trace on to the assetd daemon.
//
// It is a package of its own so that only programs that are traced already compile
// OpenTelemetry; of that it needs the propagators alone, no SDK and no exporter:
//
//	client, err := assetd.New("", assetdotel.WithTraceContext())
//
// The daemon's spans of a fetch or a push are then children of the span in the context of the
// call. Whoever wants a span for each call on this side too takes otelgrpc instead, which
// passes the trace on as well:
//
//	assetd.New("", assetd.WithDialOptions(grpc.WithStatsHandler(otelgrpc.NewClientHandler())))
package assetdotel

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/assetd/assetd/clients/go"
)

// W3C's headers, whatever the program's global propagator writes elsewhere: the daemon reads
// these.
var w3c = propagation.NewCompositeTextMapPropagator(
	propagation.TraceContext{}, propagation.Baggage{})

// WithTraceContext has every call carry the headers traceparent, tracestate and baggage of the
// span in its context; a call without a span carries none. A hold that is taken again is of the
// trace of its fetch.
func WithTraceContext() assetd.Option {
	return assetd.WithDialOptions(
		grpc.WithChainUnaryInterceptor(injectUnary), grpc.WithChainStreamInterceptor(injectStream))
}

func injectUnary(
	ctx context.Context, method string, request, response any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	return invoke(injected(ctx), method, request, response, connection, options...)
}

func injectStream(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return open(injected(ctx), description, connection, method, options...)
}

func injected(ctx context.Context) context.Context {
	headers := propagation.MapCarrier{}
	w3c.Inject(ctx, headers)
	for name, value := range headers {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	return ctx
}

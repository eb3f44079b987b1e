package assetdotel_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/assetd/assetd/clients/go"
	"github.com/assetd/assetd/clients/go/assetdotel"
	"github.com/assetd/assetd/clients/go/assetdv1"
)

// daemon records the traceparent of each call.
type daemon struct {
	assetdv1.UnimplementedAssetServiceServer
	parents chan []string
}

func (d daemon) ResolveVersion(
	ctx context.Context, _ *assetdv1.ResolveVersionRequest,
) (*assetdv1.ResolveVersionResponse, error) {
	d.note(ctx)
	return &assetdv1.ResolveVersionResponse{}, nil
}

func (d daemon) Fetch(
	_ *assetdv1.FetchRequest, stream grpc.ServerStreamingServer[assetdv1.FetchResponse],
) error {
	d.note(stream.Context())
	started := &assetdv1.FetchResponse_Started{Started: &assetdv1.FetchStarted{}}
	completed := &assetdv1.FetchResponse_Completed{Completed: &assetdv1.FetchCompleted{}}
	return errors.Join(stream.Send(&assetdv1.FetchResponse{Event: started}),
		stream.Send(&assetdv1.FetchResponse{Event: completed}))
}

func (d daemon) note(ctx context.Context) {
	d.parents <- metadata.ValueFromIncomingContext(ctx, "traceparent")
}

func start(t *testing.T) (*assetd.Client, daemon) {
	folder, err := os.MkdirTemp("", "assetd-go-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	path := filepath.Join(folder, "assetd.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	daemon := daemon{parents: make(chan []string, 1)}
	server := grpc.NewServer()
	assetdv1.RegisterAssetServiceServer(server, daemon)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	client, err := assetd.New("unix://"+path, assetdotel.WithTraceContext())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, daemon
}

func TestTheTraceIsPassedOn(t *testing.T) {
	client, daemon := start(t)
	traced := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	parent := []string{"00-01000000000000000000000000000000-0200000000000000-01"}
	for _, test := range []struct {
		ctx  context.Context
		want []string
	}{{traced, parent}, {t.Context(), nil}} {
		if _, err := client.Resolve(test.ctx, "nlp/ranker"); err != nil {
			t.Fatal(err)
		}
		if got := <-daemon.parents; !slices.Equal(got, test.want) {
			t.Errorf("a resolve carries %q", got)
		}
		if _, err := client.Fetch(test.ctx, "nlp/ranker"); err != nil {
			t.Fatal(err)
		}
		if got := <-daemon.parents; !slices.Equal(got, test.want) {
			t.Errorf("a fetch carries %q", got)
		}
	}
}

package assetd

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

func TestResolve(t *testing.T) {
	daemon := startDaemon(t)
	answer := &assetdv1.ResolveVersionResponse{
		AssetVersion: ranker, Resolution: assetdv1.Resolution_RESOLUTION_CACHE,
		CacheState: &assetdv1.CacheState{Presence: assetdv1.CacheState_PRESENCE_PRESENT},
	}
	var requests []*assetdv1.ResolveVersionRequest
	daemon.resolve = func(
		_ context.Context, request *assetdv1.ResolveVersionRequest,
	) (*assetdv1.ResolveVersionResponse, error) {
		if requests = append(requests, request); len(requests) == 1 {
			return nil, errCut
		}
		return answer, nil
	}
	client, record := newClient(t, daemon)

	got, err := client.Resolve(t.Context(), "nlp/ranker",
		WithFreshness(FreshnessCache), WithStoreTimeout(time.Second))

	if err != nil || !proto.Equal(got, answer) {
		t.Errorf("got %v and %v", got, err)
	}
	want := &assetdv1.ResolveVersionRequest{
		Spec: "nlp/ranker", Freshness: assetdv1.Freshness_FRESHNESS_CACHE,
		StoreTimeout: durationpb.New(time.Second),
	}
	if len(record.lengths) != 1 || !proto.Equal(requests[1], want) {
		t.Errorf("sent %v, paused %v", requests, record.lengths)
	}
}

func TestResolveFails(t *testing.T) {
	daemon := startDaemon(t)
	missing := failing(t, codes.NotFound, "no such asset", because(ReasonAssetNotFound))
	daemon.resolve = func(
		context.Context, *assetdv1.ResolveVersionRequest,
	) (*assetdv1.ResolveVersionResponse, error) {
		return nil, missing
	}
	client, _ := newClient(t, daemon)

	got, err := client.Resolve(t.Context(), "x")
	if got != nil || !errors.Is(err, ReasonAssetNotFound) {
		t.Errorf("got %v and %v", got, err)
	}
}

func TestDialOptionsWin(t *testing.T) {
	daemon := startDaemon(t, play(nil, started(), completed()))
	client, _ := newClient(t, daemon, WithDialOptions(grpc.WithAuthority("node.example")))

	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Fatal(err)
	}
	if got := daemon.metadata[0].Get(":authority"); len(got) != 1 || got[0] != "node.example" {
		t.Errorf("the :authority is %q", got)
	}
}

func TestCloseTwice(t *testing.T) {
	client, _ := newClient(t, startDaemon(t))
	if err := errors.Join(client.Close(), client.Close()); err != nil {
		t.Error(err)
	}
	if _, err := client.Fetch(t.Context(), "nlp/ranker"); !errors.Is(err, context.Canceled) {
		t.Errorf("a closed client answered with %v", err)
	}
}

// What its own end cuts was not cut by the daemon: neither a call that waits for one, nor one
// that is under way.
func TestClosingEndsCalls(t *testing.T) {
	away := failing(t, codes.Unavailable, "away", because(ReasonStoreUnavailable))
	for name, script := range map[string]script{
		"while it pauses": play(away), "under way": playAndStay(forever, nil, started(), progressed(1)),
	} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t, script)
			client, _ := newClient(t, daemon)
			client.clock.pause = func(ctx context.Context, _ time.Duration) error {
				client.Close()
				<-ctx.Done()
				return ctx.Err()
			}
			_, err := client.Fetch(t.Context(), "nlp/ranker",
				WithProgress(func(Progress) { client.Close() }))
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the client was closed") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A program may mix the helper and the stubs of what has no helper.
func TestStubsShareTheConnection(t *testing.T) {
	client, _ := newClient(t, startDaemon(t))
	stub := assetdv1.NewCacheServiceClient(client.Connection())

	_, err := stub.Pin(t.Context(), &assetdv1.PinRequest{})

	var failure *Error
	if !errors.As(FromError(err), &failure) || failure.Code != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestFetchOverTCP(t *testing.T) {
	daemon := startDaemon(t, play(nil, started(), completed()))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go daemon.server.Serve(listener)
	client, err := New("tcp://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Error(err)
	}
}

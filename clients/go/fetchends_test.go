package assetd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// An end without an error is a defect of the daemon, and must not pass for a success; nor must
// an answer to nothing.
func TestFetchNeedsCompleted(t *testing.T) {
	for _, lie := range []script{play(nil, started(), progressed(100)), play(nil, completed())} {
		daemon := startDaemon(t, lie)
		client, _ := newClient(t, daemon)

		asset, err := client.Fetch(t.Context(), "nlp/ranker")

		if asset != nil || !errors.Is(err, ReasonInternal) {
			t.Errorf("got %v and %v", asset, err)
		}
	}
}

// What a daemon leaves out is not known, and no reason to fall over.
func TestFetchTakesAnEmptyAnswer(t *testing.T) {
	bare := &assetdv1.FetchResponse{Event: &assetdv1.FetchResponse_Completed{
		Completed: &assetdv1.FetchCompleted{Path: "/a"},
	}}
	client, _ := newClient(t, startDaemon(t, play(nil, started(), bare)))
	asset, err := client.Fetch(t.Context(), "nlp/ranker")
	if err != nil || asset.SizeBytes() != Unknown || asset.FileCount() != Unknown || asset.Path != "/a" {
		t.Errorf("got %+v and %v", asset, err)
	}
}

// Events of later releases are passed over.
func TestFetchIgnoresEventsItDoesNotKnow(t *testing.T) {
	daemon := startDaemon(t, play(nil, started(), &assetdv1.FetchResponse{}, completed()))
	client, _ := newClient(t, daemon)

	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Error(err)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	for name, options := range map[string][]FetchOption{"plain": nil, "held": {WithHold()}} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t, playAndStay(forever, nil, started(), progressed(10)))
			client, record := newClient(t, daemon)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()

			_, err := client.Fetch(ctx, "nlp/ranker",
				append(options, WithProgress(func(Progress) { cancel() }))...)

			if !errors.Is(err, context.Canceled) || len(record.lengths) != 0 {
				t.Errorf("got %v, paused %v", err, record.lengths)
			}
		})
	}
}

func TestFetchTellsWhatItWasWaitingFor(t *testing.T) {
	away := failing(t, codes.Unavailable, "the store is away", because(ReasonStoreUnavailable))
	daemon := startDaemon(t, play(away))
	client, _ := newClient(t, daemon)
	ctx, cancel := context.WithCancel(t.Context())
	client.clock.pause = func(context.Context, time.Duration) error {
		cancel()
		return ctx.Err()
	}

	_, err := client.Fetch(ctx, "nlp/ranker")

	if !errors.Is(err, context.Canceled) || !errors.Is(err, ReasonStoreUnavailable) ||
		status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), "the store is away") {
		t.Errorf("it reads %q", err)
	}
}

// An alarm must not be lost because the context ended at the same moment.
func TestFetchPrefersTheDaemonsAnswerToItsContexts(t *testing.T) {
	damaged := failing(t, codes.DataLoss, "bytes differ", because(ReasonDigestMismatch))
	daemon := startDaemon(t, play(damaged, started()))
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := newClient(t, daemon, leavingAtTheEnd(cancel))

	if _, err := client.Fetch(ctx, "nlp/ranker"); !errors.Is(err, ReasonDigestMismatch) {
		t.Errorf("got %v", err)
	}
}

// A caller's own fault must not leave its stream behind.
func TestFetchEndsItsStreamWhenAReportPanics(t *testing.T) {
	daemon := startDaemon(t, playAndStay(forever, nil, started(), progressed(10)))
	client, _ := newClient(t, daemon)
	defer func() {
		if recover() == nil {
			t.Error("the panic was swallowed")
		}
		daemon.awaitQuiet()
	}()

	client.Fetch(t.Context(), "nlp/ranker", WithProgress(func(Progress) { panic("a bug") }))
}

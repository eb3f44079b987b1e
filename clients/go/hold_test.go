package assetd

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// fetchHeld fetches with a hold, and fails the test where that fails.
func fetchHeld(t *testing.T, ctx context.Context, client *Client, options ...FetchOption) *Asset {
	t.Helper()
	asset, err := client.Fetch(ctx, "nlp/ranker:1", append(options, WithHold())...)
	if err != nil {
		t.Fatal(err)
	}
	return asset
}

func TestHoldLastsUntilClose(t *testing.T) {
	daemon := startDaemon(t, playAndStay(forever, nil, started(), completed()))
	client, _ := newClient(t, daemon)

	asset := fetchHeld(t, t.Context(), client)

	if !daemon.requests[0].GetHold() || isEnded(asset) {
		t.Error("it is not held")
	}
	if err := errors.Join(asset.Close(), asset.Close()); err != nil {
		t.Error(err)
	}
	if !isEnded(asset) {
		t.Error("it is still held after Close")
	}
	daemon.awaitQuiet()
}

func isEnded(asset *Asset) bool {
	select {
	case <-asset.HoldEnded():
		return true
	default:
		return false
	}
}

// The usual way to limit a fetch, with the cancel deferred, must not end the hold.
func TestHoldOutlivesTheContextOfItsFetch(t *testing.T) {
	deadlines := make(chan bool, 1)
	cut := make(chan struct{})
	stay := playAndStay(cut, errCut, started(), completed())
	daemon := startDaemon(t, func(stream events) error {
		_, limited := stream.Context().Deadline()
		deadlines <- limited
		return stay(stream)
	}, playAndStay(forever, nil, started(), completed()))
	client, record := newClient(t, daemon)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)

	asset := fetchHeld(t, ctx, client)
	cancel()
	// Only a hold that is alive notices the cut, and takes another.
	close(cut)
	daemon.awaitCalls(2)

	if <-deadlines {
		t.Error("the daemon was told a deadline")
	}
	if err := asset.Close(); err != nil || len(record.lengths) != 1 {
		t.Errorf("got %v, paused %v", err, record.lengths)
	}
}

// A daemon that stops tells its holders, or just goes; they come back for the very version
// that they have, wait for as long as it takes, and do not download it again.
func TestHoldIsTakenAgain(t *testing.T) {
	stopping := failing(t, codes.Unavailable, "stopping", because(ReasonShuttingDown))
	crowded := failing(t, codes.ResourceExhausted, "too many calls", because(ReasonTooManyRequests),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Hour)})
	cut := make(chan struct{})
	daemon := startDaemon(t,
		playAndStay(cut, stopping, started(), progressed(50), completed()),
		play(errCut), play(crowded), play(errCut, started(), progressed(60)),
		play(nil, started(), completed()), play(status.Error(codes.Internal, "RST_STREAM")),
		playAndStay(forever, nil, started(), completed()))
	client, record := newClient(t, daemon,
		WithRetryPolicy(RetryPolicy{Patience: -1, ConnectPatience: -1, FirstDelay: time.Second}))
	reports := 0

	asset := fetchHeld(t, t.Context(), client,
		WithForceDownload(), WithVerify(), WithProgress(func(Progress) { reports++ }))
	close(cut)
	daemon.awaitCalls(7)

	if isEnded(asset) {
		t.Error("the hold was given up")
	}
	if err := asset.Close(); err != nil {
		t.Error(err)
	}
	if got := daemon.specs(); !slices.Equal(got[1:], slices.Repeat([]string{"nlp/ranker:1.2"}, 6)) {
		t.Errorf("asked for %q", got)
	}
	for number, request := range daemon.requests {
		if !request.GetHold() || request.GetForceDownload() != (number == 0) ||
			request.GetVerify() != (number == 0) {
			t.Errorf("call %d was %v", number, request)
		}
	}
	if reports != 1 {
		t.Errorf("%d reports: one was for the fetch, none is for the hold", reports)
	}
	if len(record.lengths) != 6 || record.lengths[2] < time.Hour {
		t.Errorf("paused %v", record.lengths)
	}
	if afterAHold := record.lengths[4]; afterAHold > time.Second {
		t.Errorf("paused %v after a hold, as if it had been one more failure", afterAHold)
	}
}

// What the store took back, and the cache evicted while nobody held it, is gone for good.
func TestHoldIsLost(t *testing.T) {
	gone := failing(t, codes.NotFound, "no such version", because(ReasonVersionNotFound))
	daemon := startDaemon(t, play(errCut, started(), completed()), play(gone))
	client, _ := newClient(t, daemon)

	asset := fetchHeld(t, t.Context(), client)
	<-asset.HoldEnded()

	if err := asset.Close(); !errors.Is(err, ReasonVersionNotFound) {
		t.Errorf("Close tells %v", err)
	}
}

func TestHoldEndsWithItsClient(t *testing.T) {
	daemon := startDaemon(t, playAndStay(forever, nil, started(), completed()))
	client, _ := newClient(t, daemon)

	asset := fetchHeld(t, t.Context(), client)
	client.Close()

	<-asset.HoldEnded()
	if err := asset.Close(); err != nil {
		t.Errorf("a hold that was ended on purpose is called lost: %v", err)
	}
}

// The context may end between the daemon's last event and Fetch's return: then there is no
// asset, so that nobody could end the hold.
func TestHoldIsNotTakenForACallerThatLeft(t *testing.T) {
	daemon := startDaemon(t, playAndStay(forever, nil, started(), completed()))
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := newClient(t, daemon, leavingAtTheEnd(cancel))

	asset, err := client.Fetch(ctx, "nlp/ranker", WithHold())

	if asset != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v and %v", asset, err)
	}
}

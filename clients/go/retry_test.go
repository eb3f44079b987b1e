package assetd

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

func TestBackoffDoublesUpToItsMaximum(t *testing.T) {
	policy := RetryPolicy{FirstDelay: time.Second, MaxDelay: 5 * time.Second}
	var got []time.Duration
	for _, failures := range []int{1, 2, 3, 4, 1 << 30} {
		got = append(got, policy.delay(failures))
	}
	want := []time.Duration{
		time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	policy.FirstDelay = time.Minute
	if got := policy.delay(1); got != policy.MaxDelay {
		t.Errorf("the first pause is %v, longer than the longest", got)
	}
}

// Pauses are spread out, within half of their length, so that callers do not return at once.
func TestPausesAreJittered(t *testing.T) {
	var seen []time.Duration
	for range 1000 {
		length := jittered(time.Second)
		if length < time.Second/2 || length > time.Second {
			t.Fatalf("got %v", length)
		}
		seen = append(seen, length)
	}
	shortest, longest := slices.Min(seen), slices.Max(seen)
	if shortest > time.Second*6/10 || longest < time.Second*9/10 {
		t.Errorf("1000 pauses lie between %v and %v", shortest, longest)
	}
}

func TestTheDaemonsRetryInfoIsWaitedFor(t *testing.T) {
	stopping := failing(t, codes.Unavailable, "stopping", because(ReasonShuttingDown),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)})
	daemon := startDaemon(t, play(stopping), play(nil, started(), completed()))
	client, record := newClient(t, daemon, WithRetryPolicy(RetryPolicy{
		Patience: time.Hour, MaxDelay: time.Second,
	}))

	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Fatal(err)
	}
	got := record.lengths
	if len(got) != 1 || got[0] < time.Minute || got[0] > time.Minute+time.Second {
		t.Errorf("paused %v", got)
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := pause(t.Context(), 0); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestThePolicysDefaults(t *testing.T) {
	want := RetryPolicy{
		Patience: 15 * time.Second, ConnectPatience: 1500 * time.Millisecond,
		FirstDelay: 100 * time.Millisecond, MaxDelay: 2 * time.Second, StallTimeout: 30 * time.Second,
	}
	if got := (RetryPolicy{}).withDefaults(); got != want {
		t.Errorf("got %+v", got)
	}
	own := RetryPolicy{Patience: 1, ConnectPatience: -1, FirstDelay: 2, MaxDelay: 3, StallTimeout: 4}
	if got := own.withDefaults(); got != own {
		t.Errorf("got %+v", got)
	}
}

// A daemon that has said anything is waited for longer than one that nobody has started.
func TestADaemonThatWentAwayIsWaitedFor(t *testing.T) {
	stopping := failing(t, codes.Unavailable, "stopping", because(ReasonShuttingDown))
	for name, first := range map[string]script{
		"by an event": play(errCut, started()), "by a reason": play(stopping),
	} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t, first, play(errCut), play(errCut), play(nil, started(), completed()))
			client, record := newClient(t, daemon, WithRetryPolicy(RetryPolicy{
				ConnectPatience: -1, FirstDelay: time.Second,
			}))
			if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
				t.Error(err)
			}
			if len(record.lengths) != 3 {
				t.Errorf("paused %v", record.lengths)
			}
		})
	}
}

// An answer alone restores no patience: a daemon whose store is down begins well each time.
func TestAnAnswerAloneRestoresNoPatience(t *testing.T) {
	count := tries{policy: RetryPolicy{Patience: time.Second, FirstDelay: 1}, now: time.Now}
	count.answered(10)
	failure := &Error{Code: codes.Unavailable, RetryAfter: 600 * time.Millisecond}
	begin := time.Now()
	count.now = func() time.Time { return begin }
	if _, again := count.delayAfter(t.Context(), failure); !again {
		t.Fatal("it has no patience at all")
	}
	begin = begin.Add(600 * time.Millisecond)
	count.answered(10)
	if _, again := count.delayAfter(t.Context(), failure); again {
		t.Error("an answer that came no further gave new patience")
	}
	count.answered(11)
	if _, again := count.delayAfter(t.Context(), failure); !again {
		t.Error("a call that came further has no new patience")
	}
}

// Whoever has until then is told the cause at once, instead of waiting for nothing.
func TestNoPauseOutlastsTheDeadline(t *testing.T) {
	away := failing(t, codes.Unavailable, "the store is away", because(ReasonStoreUnavailable),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)})
	daemon := startDaemon(t, play(away))
	client, record := newClient(t, daemon, WithRetryPolicy(RetryPolicy{Patience: time.Hour}))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	_, err := client.Fetch(ctx, "nlp/ranker")

	if !errors.Is(err, ReasonStoreUnavailable) || len(record.lengths) != 0 {
		t.Errorf("got %v, paused %v", err, record.lengths)
	}
}

// gRPC cancels the calls that were on their way to a daemon that begins to stop.
func TestACallThatNobodyCancelledIsRepeated(t *testing.T) {
	cancelled := failing(t, codes.Canceled, "CANCELLED")
	daemon := startDaemon(t, play(cancelled), play(cancelled, started()),
		play(nil, started(), completed()))
	client, record := newClient(t, daemon)
	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil || len(record.lengths) != 2 {
		t.Errorf("got %v, paused %v", err, record.lengths)
	}

	daemon = startDaemon(t, play(cancelled))
	client, _ = newClient(t, daemon, impatient)
	_, err := client.Fetch(t.Context(), "nlp/ranker")
	if !errors.Is(err, ErrDaemonUnavailable) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Something on the way that resets a stream is no word of the daemon's: every call is repeated,
// and when patience ends the failure is what it was.
func TestAResetIsMetByARepeat(t *testing.T) {
	reset := failing(t, codes.Internal, "stream terminated by RST_STREAM")
	daemon := startDaemon(t, play(reset), play(reset, started(), progressed(10)),
		playAndStay(forever, nil, started(), completed()))
	cuts := 0
	daemon.list = func(*assetdv1.ListRequest) (*assetdv1.ListResponse, error) {
		if cuts++; cuts <= 2 {
			return nil, reset
		}
		return &assetdv1.ListResponse{}, nil
	}
	client, record := newClient(t, daemon)
	asset := fetchHeld(t, t.Context(), client)
	asset.Close()
	for _, err := range client.List(t.Context(), "") {
		t.Error(err)
	}
	if len(record.lengths) != 4 {
		t.Errorf("paused %v", record.lengths)
	}

	daemon = startDaemon(t, play(reset))
	client, _ = newClient(t, daemon, impatient)
	_, err := client.Fetch(t.Context(), "nlp/ranker")
	var failure *Error
	if !errors.As(err, &failure) || failure.Code != codes.Internal || failure.Reason != "" {
		t.Errorf("got %v", err)
	}
}

// What cannot be read or written here would be no better a second time.
func TestWhatCannotBeReadIsNotAskedForAgain(t *testing.T) {
	daemon := startDaemon(t, func(stream events) error {
		return stream.SendMsg(&wrapperspb.BytesValue{Value: []byte{0xff}})
	})
	client, record := newClient(t, daemon)
	for _, spec := range []string{"nlp/ranker", "nlp/\xff"} {
		_, err := client.Fetch(t.Context(), spec)
		if !errors.Is(err, ReasonInternal) || len(record.lengths) != 0 {
			t.Errorf("got %v, paused %v", err, record.lengths)
		}
	}
}

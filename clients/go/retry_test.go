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
)

func TestBackoffDoublesUpToItsMaximum(t *testing.T) {
	policy := RetryPolicy{InitialBackoff: time.Second, MaxBackoff: 5 * time.Second}
	var got []time.Duration
	for _, failures := range []int{1, 2, 3, 4, 1 << 30} {
		got = append(got, policy.backoff(failures))
	}
	want := []time.Duration{
		time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	policy.InitialBackoff = time.Minute
	if got := policy.backoff(1); got != policy.MaxBackoff {
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
	client, record := newClient(t, daemon, WithRetryPolicy(RetryPolicy{MaxBackoff: time.Second}))

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
		MaxAttempts: 8, InitialBackoff: 200 * time.Millisecond, MaxBackoff: 5 * time.Second,
	}
	if got := (RetryPolicy{}).withDefaults(); got != want {
		t.Errorf("got %+v", got)
	}
	own := RetryPolicy{MaxAttempts: 1, InitialBackoff: 2, MaxBackoff: 3}
	if got := own.withDefaults(); got != own {
		t.Errorf("got %+v", got)
	}
}

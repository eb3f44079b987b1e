package assetd

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// A daemon that is frozen says nothing at all; another one may be there by now.
func TestAFetchThatFallsSilentIsJoinedAgain(t *testing.T) {
	daemon := startDaemon(t,
		playAndStay(forever, nil, started(), progressed(10)), playAndStay(forever, nil),
		play(nil, started(), completed()))
	client, record := newClient(t, daemon, WithRetryPolicy(RetryPolicy{StallTimeout: 1}))

	_, err := client.Fetch(t.Context(), "nlp/ranker", WithProgressInterval(10*time.Millisecond))

	if err != nil || len(record.lengths) != 2 {
		t.Errorf("got %v, paused %v", err, record.lengths)
	}
	if got := daemon.specs(); got[1] != "nlp/ranker:1.2" {
		t.Errorf("joined %q", got)
	}
}

func TestSilenceIsToldAsSuch(t *testing.T) {
	daemon := startDaemon(t, playAndStay(forever, nil, started()))
	client, _ := newClient(t, daemon, WithRetryPolicy(RetryPolicy{
		Patience: -1, StallTimeout: time.Millisecond,
	}))
	_, err := client.Fetch(t.Context(), "nlp/ranker", WithProgressInterval(3*time.Millisecond))
	var failure *Error
	if !errors.Is(err, ErrDaemonUnavailable) || !errors.As(err, &failure) ||
		failure.Metadata["silent_seconds"] != "0.01" || !strings.Contains(err.Error(), "said nothing") {
		t.Errorf("got %v", err)
	}
}

// handTimer never fires by itself, and tells whether it runs.
type handTimer struct {
	mutex   sync.Mutex
	running bool
	starts  []time.Duration
	fire    func()
}

func (h *handTimer) start(length time.Duration, fire func()) timer {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.running = true
	h.starts = append(h.starts, length)
	h.fire = fire
	return h
}

func (h *handTimer) Stop() bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.running = false
	return true
}

// Each word of the daemon begins the time anew, what a report takes does not count, and a hold
// is silent by design.
func TestOnlySilenceCounts(t *testing.T) {
	daemon := startDaemon(t, playAndStay(forever, nil, started(), progressed(1), completed()))
	client, _ := newClient(t, daemon)
	watch := new(handTimer)
	client.afterFunc = watch.start

	asset := fetchHeld(t, t.Context(), client, WithProgress(func(Progress) {
		if watch.running {
			t.Error("the caller's own report counts as silence")
		}
	}))

	want := 31500 * time.Millisecond
	if len(watch.starts) != 3 || watch.starts[0] != want || watch.starts[2] != want {
		t.Errorf("watched for %v", watch.starts)
	}
	if watch.running {
		t.Error("the hold is watched")
	}
	asset.Close()
}

// A process that was stopped finds its time over before it could read what arrived meanwhile.
func TestAProcessThatStoodStillMayReadFirst(t *testing.T) {
	timer := new(handTimer)
	cut := false
	watch := &watch{silence: time.Second, cut: func() { cut = true }, afterFunc: timer.start}

	watch.listen()
	stoodStill := timer.fire
	stoodStill()
	inGrace := timer.fire
	watch.rest()
	inGrace()
	watch.listen()
	stoodStill()
	if cut || !slices.Equal(timer.starts, []time.Duration{time.Second, grace, time.Second}) {
		t.Errorf("cut %v, watched for %v", cut, timer.starts)
	}

	timer.fire()
	timer.fire()
	if !cut || timer.starts[3] != grace {
		t.Errorf("cut %v, watched for %v", cut, timer.starts)
	}
}

func TestHowLongAStreamMaySayNothing(t *testing.T) {
	for _, test := range []struct {
		timeout  time.Duration
		interval *durationpb.Duration
		want     time.Duration
	}{
		{30 * time.Second, nil, 31500 * time.Millisecond},
		{30 * time.Second, durationpb.New(time.Second), 33 * time.Second},
		{30 * time.Second, durationpb.New(time.Hour), 45 * time.Second},
		{30 * time.Second, durationpb.New(-time.Hour), 30 * time.Second},
		{-1, nil, -1},
	} {
		policy := RetryPolicy{StallTimeout: test.timeout}
		request := &assetdv1.FetchRequest{ProgressInterval: test.interval}
		if got := policy.silenceOf(request); got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}

func TestWhoeverWantsWaitsForEver(t *testing.T) {
	watch := new(handTimer)
	daemon := startDaemon(t, play(nil, started(), completed()))
	client, _ := newClient(t, daemon, WithRetryPolicy(RetryPolicy{StallTimeout: -1}))
	client.afterFunc = watch.start
	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil || len(watch.starts) != 0 {
		t.Errorf("got %v, watched for %v", err, watch.starts)
	}
}

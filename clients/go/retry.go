package assetd

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RetryPolicy says how patient a client is with failures that end by themselves. They are met by
// a repeat, and no others are:
//
//   - UNAVAILABLE: no daemon is there, one is stopping, a stream was cut or fell silent, the
//     store does not answer;
//   - CANCELLED and INTERNAL without a reason, which gRPC or something on the way made: where
//     the daemon itself fails, it says why;
//   - of a push, also ReasonPushInProgress of its own earlier try;
//   - of a hold that lost its daemon, also RESOURCE_EXHAUSTED, and whatever has no reason.
//
// The context of the call ends the waiting at any time.
//
// A field that is 0 has its default; a negative one means none at all.
type RetryPolicy struct {
	// Patience is how long failures are met by a repeat. It starts anew whenever the call has
	// come further than ever, so that a fetch may be cut as often as it likes. 0 means 15 s.
	//
	// Holds know no end of patience: they are taken again for as long as the asset is open.
	Patience time.Duration
	// ConnectPatience is the same while no daemon has answered the call at all. Short, so that
	// somebody who forgot to start one is told so, and long enough for a restart. 0 means 1.5 s.
	ConnectPatience time.Duration
	// FirstDelay is the pause before the first repeat; it doubles from one to the next. Up to
	// half of every pause is left out at random, and what the daemon asks for in RetryInfo is
	// added. 0 means 100 ms.
	FirstDelay time.Duration
	// MaxDelay is what the pauses grow to. 0 means 2 s.
	MaxDelay time.Duration
	// StallTimeout is how long the stream of a fetch may say nothing, beyond three of its
	// progress intervals, before it is cut and joined again. A daemon that lives tells how far
	// it is even if nothing moves; one that is frozen, or out of reach, would be waited for for
	// ever. 0 means 30 s; negative waits for ever.
	StallTimeout time.Duration
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	for _, field := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&p.Patience, 15 * time.Second},
		{&p.ConnectPatience, 1500 * time.Millisecond},
		{&p.FirstDelay, 100 * time.Millisecond},
		{&p.MaxDelay, 2 * time.Second},
		{&p.StallTimeout, 30 * time.Second},
	} {
		if *field.value == 0 {
			*field.value = field.standard
		}
	}
	return p
}

// delay returns the longest pause after so many failures in a row, RetryInfo aside.
func (p RetryPolicy) delay(failures int) time.Duration {
	length := max(p.FirstDelay, 0)
	for doubled := 1; doubled < failures && length < p.MaxDelay; doubled++ {
		length *= 2
	}
	return max(min(length, p.MaxDelay), 0)
}

// endless returns the same pauses without an end, for a hold.
func (p RetryPolicy) endless() RetryPolicy {
	p.Patience, p.ConnectPatience = math.MaxInt64, math.MaxInt64
	return p
}

// clock is the time as the retries see it. Tests put their own here.
type clock struct {
	now   func() time.Time
	pause func(context.Context, time.Duration) error
}

// repetition says how long failures are met by a repeat, and which ones end by themselves
// beside those that no daemon decided.
type repetition struct {
	RetryPolicy
	passes func(*Error) bool
}

func (p RetryPolicy) forCalls() repetition {
	return repetition{p, func(*Error) bool { return false }}
}

// tries are one call's failures since it last came further.
type tries struct {
	policy       RetryPolicy
	now          func() time.Time
	failures     int
	firstFailure time.Time
	isAnswered   bool
	furthest     int64
}

// answered notes that the daemon sent something, and how far the call is by some figure. An
// answer alone is no reason for new patience: a daemon whose store is down may begin well
// each time.
func (t *tries) answered(done int64) {
	t.isAnswered = true
	if done > t.furthest {
		t.furthest = done
		t.failures = 0
	}
}

// beginAnew forgets the failures: the call has reached what it was made for.
func (t *tries) beginAnew() {
	t.failures = 0
}

// delayAfter returns how long to pause before the call is made again, and whether it is to be
// made again at all: not if patience has ended, or the pause would outlast ctx.
func (t *tries) delayAfter(ctx context.Context, failure *Error) (time.Duration, bool) {
	if !errors.Is(failure, ErrDaemonUnavailable) {
		t.isAnswered = true
	}
	now := t.now()
	if t.failures == 0 {
		t.firstFailure = now
	}
	t.failures++
	delay := jittered(t.policy.delay(t.failures)) + failure.RetryAfter
	patience := t.policy.ConnectPatience
	if t.isAnswered {
		patience = t.policy.Patience
	}
	if delay > patience-now.Sub(t.firstFailure) {
		return 0, false
	}
	deadline, limited := ctx.Deadline()
	return delay, !limited || now.Add(delay).Before(deadline)
}

// localFailure is a failure of this process, such as of its disk: not about the call, and of
// no use to repeat.
type localFailure struct {
	error
}

// repeat calls attempt until it succeeds, fails for good, or ctx ends. Whatever failed, it
// returns an *Error, or what is in a localFailure.
func (c *Client) repeat(
	ctx context.Context, how repetition, attempt func(*tries) error,
) error {
	count := tries{policy: how.RetryPolicy, now: c.clock.now}
	var before *Error
	for {
		err := attempt(&count)
		if err == nil {
			return nil
		}
		if local, ok := err.(localFailure); ok {
			return local.error
		}
		failure := toError(err, nil)
		if failure.mayComeFromContext() && (ctx.Err() != nil || c.life.Err() != nil) {
			return c.interrupted(ctx, before)
		}
		failure.explainUnreachable(c.address)
		if !failure.isCut() && !how.passes(failure) {
			return failure
		}
		delay, again := count.delayAfter(ctx, failure)
		if !again {
			return failure
		}
		if c.rest(ctx, delay) != nil {
			return c.interrupted(ctx, failure)
		}
		before = failure
	}
}

// rest waits, but neither longer than ctx nor longer than the client.
func (c *Client) rest(ctx context.Context, delay time.Duration) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	return c.clock.pause(waiting, delay)
}

// interrupted returns the failure of a call whose context ended, or whose client was closed;
// before, if any, is what the call was being repeated for.
func (c *Client) interrupted(ctx context.Context, before *Error) *Error {
	failure := &Error{Code: codes.Canceled, Message: "the client was closed"}
	if ctx.Err() != nil {
		ended := status.FromContextError(ctx.Err())
		failure.Code, failure.Message = ended.Code(), ended.Message()
	}
	if before != nil {
		failure.Message += ", while retrying after: " + before.Message
		failure.cause = before
	}
	return failure
}

func jittered(length time.Duration) time.Duration {
	return length - rand.N(length/2+1)
}

func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

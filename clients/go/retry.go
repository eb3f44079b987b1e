package assetd

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RetryPolicy says how often, and how fast, a call is repeated that failed with UNAVAILABLE:
// no daemon, one that is stopping, a stream that was cut, a store that does not answer. Other
// failures are never repeated. The context of the call ends the waiting at any time.
type RetryPolicy struct {
	// MaxAttempts is how many attempts in a row may fail. A fetch whose bytes moved forward
	// begins to count anew. 1 repeats nothing; 0 means 8.
	//
	// Holds have no such limit: they are taken again for as long as the asset is open.
	MaxAttempts int
	// InitialBackoff is the pause after the first failure; it doubles with each further one.
	// Up to half of every pause is left out at random, and what the daemon asks for in
	// RetryInfo is added. 0 means 200 ms.
	InitialBackoff time.Duration
	// MaxBackoff is where the pauses stop growing. 0 means 5 s.
	MaxBackoff time.Duration
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.MaxAttempts <= 0 {
		p.MaxAttempts = 8
	}
	if p.InitialBackoff <= 0 {
		p.InitialBackoff = 200 * time.Millisecond
	}
	if p.MaxBackoff <= 0 {
		p.MaxBackoff = 5 * time.Second
	}
	return p
}

// backoff returns the longest pause after so many failures in a row, RetryInfo aside.
func (p RetryPolicy) backoff(failures int) time.Duration {
	length := p.InitialBackoff
	for doubled := 1; doubled < failures && length < p.MaxBackoff; doubled++ {
		length *= 2
	}
	return min(length, p.MaxBackoff)
}

// patience is a policy together with the failures that it is for.
type patience struct {
	RetryPolicy
	repeats func(*Error) bool
}

func (p RetryPolicy) forCalls() patience {
	return patience{p, func(failure *Error) bool { return failure.Code == codes.Unavailable }}
}

// forHolds returns the patience of somebody who has the version already, and loses it by
// giving up: only the daemon's own word ends a hold, and only if it is not about room, which
// a restarted daemon may lack until all its callers are back.
func (p RetryPolicy) forHolds() patience {
	p.MaxAttempts = math.MaxInt
	return patience{p, func(failure *Error) bool {
		return failure.Reason == "" || failure.Code == codes.Unavailable ||
			failure.Code == codes.ResourceExhausted
	}}
}

// tries counts the attempts of one call that failed in a row.
type tries struct {
	failures int
}

func (t *tries) beginAnew() {
	t.failures = 0
}

// repeat calls attempt until it succeeds, fails for good, or ctx ends.
func (c *Client) repeat(
	ctx context.Context, patience patience, attempt func(*tries) error,
) error {
	var count tries
	var before *Error
	for {
		failure := toError(attempt(&count))
		if failure == nil {
			return nil
		}
		if ctx.Err() != nil && failure.mayComeFromContext() {
			return interrupted(ctx, before)
		}
		if !patience.repeats(failure) {
			return failure
		}
		if count.failures++; count.failures >= patience.MaxAttempts {
			return c.explained(failure)
		}
		length := failure.RetryAfter + jittered(patience.backoff(count.failures))
		if c.pause(ctx, length) != nil {
			return interrupted(ctx, failure)
		}
		before = failure
	}
}

// explained adds what to do about a daemon that was never reached: the text of gRPC tells
// of sockets only. Where there is a reason, the daemon did answer.
func (c *Client) explained(failure *Error) *Error {
	if failure.Reason == "" {
		failure.Message = fmt.Sprintf(
			"no answer from the daemon at %s: start it with 'assetd serve', or say by %s where it"+
				" is (%s)", c.address, addressVariable, failure.Message)
	}
	return failure
}

// interrupted returns the failure of a call whose context ended; before, if any, is what the
// call was being repeated for.
func interrupted(ctx context.Context, before *Error) *Error {
	ended := status.FromContextError(ctx.Err())
	failure := &Error{Code: ended.Code(), Message: ended.Message()}
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

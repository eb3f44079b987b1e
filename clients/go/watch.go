package assetd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

const (
	// The daemon's own, where a fetch asks for none, and its limit.
	progressInterval    = 500 * time.Millisecond
	maxProgressInterval = 5 * time.Second
	// A stream may miss so many reports before it counts as silent.
	missedReports = 3
)

// errStalled is why a silent stream was cancelled.
var errStalled = errors.New("the stream was silent")

// timer is what the watch needs of a *time.Timer.
type timer interface {
	Reset(time.Duration) bool
	Stop() bool
}

// watch cancels a stream that says nothing for too long while it is listened to. What the
// caller's own report takes does not count.
type watch struct {
	// Negative: for ever.
	silence time.Duration
	start   func() timer
	timer   timer
}

// watching returns a watch that is not listening yet.
func (c *Client) watching(silence time.Duration, cancel context.CancelCauseFunc) *watch {
	return &watch{silence: silence, start: func() timer {
		return c.afterFunc(silence, func() { cancel(errStalled) })
	}}
}

// listen begins to count, and rest ends it.
func (w *watch) listen() {
	switch {
	case w.silence < 0:
	case w.timer == nil:
		w.timer = w.start()
	default:
		w.timer.Reset(w.silence)
	}
}

func (w *watch) rest() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// silenceOf returns how long the stream of a fetch may say nothing; negative: for ever.
func (p RetryPolicy) silenceOf(request *assetdv1.FetchRequest) time.Duration {
	if p.StallTimeout < 0 {
		return -1
	}
	interval := progressInterval
	if asked := request.GetProgressInterval(); asked != nil {
		interval = max(min(asked.AsDuration(), maxProgressInterval), 0)
	}
	return p.StallTimeout + missedReports*interval
}

// stalled returns the failure of a stream that fell silent.
func (c *Client) stalled(silence time.Duration) *Error {
	seconds := fmt.Sprintf("%g", silence.Seconds())
	return &Error{
		Code: codes.Unavailable,
		Message: fmt.Sprintf("the assetd daemon at %s said nothing for %s seconds, though it tells "+
			"of every fetch how far it is: look whether its process is stopped or its node hangs",
			c.address, seconds),
		Metadata: map[string]string{"address": c.address, "silent_seconds": seconds},
	}
}

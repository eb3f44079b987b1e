package assetd

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	// What a stream is given once its time is over, and before it is cut.
	grace = 250 * time.Millisecond
)

// errStalled is why a silent stream was cancelled.
var errStalled = errors.New("the stream was silent")

// timer is what the watch needs of a *time.Timer.
type timer interface {
	Stop() bool
}

// watch cuts a stream that says nothing for too long while it is listened to. What the caller's
// own report takes does not count.
type watch struct {
	// Negative: for ever.
	silence   time.Duration
	cut       func()
	afterFunc func(time.Duration, func()) timer

	mutex sync.Mutex
	timer timer
	// A timer that fires late finds that its turn is over.
	turn int
}

// watching returns a watch that is not listening yet.
func (c *Client) watching(silence time.Duration, cancel context.CancelCauseFunc) *watch {
	return &watch{
		silence: silence, cut: func() { cancel(errStalled) }, afterFunc: c.afterFunc,
	}
}

// listen begins to count, and rest ends it.
func (w *watch) listen() {
	if w.silence < 0 {
		return
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	// A process that stood still has not read yet what arrived meanwhile.
	w.count(w.silence, func() { w.count(grace, w.cut) })
}

// count has then called after so long, unless it is called anew before, or the watch rests. The
// caller has the mutex, and so has then.
func (w *watch) count(length time.Duration, then func()) {
	w.turn++
	turn := w.turn
	w.timer = w.afterFunc(length, func() {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		if turn == w.turn {
			then()
		}
	})
}

func (w *watch) rest() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.turn++
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

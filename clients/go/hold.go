package assetd

import (
	"context"

	"google.golang.org/grpc/codes"
)

// holding keeps a version from being evicted until it is released: a stream, or a lease.
type holding interface {
	// release ends it and returns why it had been lost, if it was lost before; idempotent.
	release() error
	// done is closed when it has ended.
	done() <-chan struct{}
}

// hold keeps a version by keeping a stream open.
type hold struct {
	cancel context.CancelFunc
	ended  chan struct{}
	// Why it ended without being released. To be read once ended is closed.
	lost error
}

func (h *hold) release() error {
	h.cancel()
	<-h.ended
	return h.lost
}

func (h *hold) done() <-chan struct{} {
	return h.ended
}

// runHeld fetches by a stream that outlives ctx, and leaves it open.
func (f *fetchCall) runHeld(ctx context.Context) (*Asset, error) {
	holdContext, release := f.client.detached(ctx)
	detach := context.AfterFunc(ctx, release)
	asset, stream, err := f.runOpen(ctx, holdContext)
	detached := detach()
	if err != nil {
		release()
		return nil, err
	}
	if !detached {
		// ctx ended after the last event, and with it holdContext.
		stream.end(nil)
		return nil, f.client.interrupted(ctx, nil)
	}
	hold := &hold{cancel: release, ended: make(chan struct{})}
	asset.hold = hold
	go hold.keep(holdContext, f, stream)
	return asset, nil
}

func (f *fetchCall) runOpen(ctx, holdContext context.Context) (*Asset, *eventStream, error) {
	var stream *eventStream
	var asset *Asset
	err := f.client.repeat(ctx, f.client.retry.forCalls(), func(count *tries) error {
		opened, completed, err := f.complete(holdContext, count)
		if err != nil {
			return err
		}
		stream, asset = opened, f.asset(completed)
		return nil
	})
	return asset, stream, err
}

// detached returns a context with the values of ctx, such as its trace, that ends with the
// client instead of with ctx.
func (c *Client) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(c.life, cancel)
	return detached, func() {
		stop()
		cancel()
	}
}

// forHolds returns the patience of somebody who has the version already, and loses it by
// giving up: only the daemon's own word ends a hold, and only if it is not about room, which
// a restarted daemon may lack until all its callers are back.
func (p RetryPolicy) forHolds() repetition {
	return repetition{p.endless(), func(failure *Error) bool {
		return failure.Reason == "" || failure.Code == codes.ResourceExhausted
	}}
}

// keep holds until it is released: whenever the stream is cut, the same version is fetched
// again, which is a hit as long as the daemon still has it.
func (h *hold) keep(ctx context.Context, call *fetchCall, stream *eventStream) {
	defer close(h.ended)
	defer h.cancel()
	// A report may use what its caller has taken down by now, and what is here need neither be
	// downloaded nor hashed once more.
	call.isHeld = true
	call.request.ForceDownload = false
	call.request.Verify = false
	err := call.client.repeat(ctx, call.client.retry.forHolds(), func(count *tries) error {
		if stream == nil {
			opened, _, err := call.complete(ctx, count)
			if err != nil {
				return err
			}
			stream = opened
			count.beginAnew()
		}
		cut := stream.wait()
		stream = nil
		if cut == nil {
			// Not the daemon's decision, it seems: its word would be a status.
			return &Error{Code: codes.Unavailable, Message: "the daemon ended a hold without a word"}
		}
		return cut
	})
	if ctx.Err() == nil {
		h.lost = err
	}
}

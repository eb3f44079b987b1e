package assetd

import (
	"context"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// hold keeps a version from being evicted by keeping a stream open.
type hold struct {
	release context.CancelFunc
	ended   chan struct{}
	// Why it ended without being released. To be read once ended is closed.
	lost error
}

// runHeld fetches by a stream that outlives ctx, and leaves it open.
func (f *fetchCall) runHeld(ctx context.Context) (*Asset, error) {
	holdContext, release := f.client.detached(ctx)
	detach := context.AfterFunc(ctx, release)
	var (
		stream    *eventStream
		completed *assetdv1.FetchCompleted
	)
	err := f.client.repeat(ctx, f.client.retry.forCalls(), func(count *tries) (err error) {
		stream, completed, err = f.complete(holdContext, count)
		return err
	})
	detached := detach()
	if err != nil {
		release()
		return nil, err
	}
	if !detached {
		// ctx ended after the last event, and with it holdContext.
		stream.end()
		return nil, interrupted(ctx, nil)
	}
	asset := f.asset(completed)
	asset.hold = &hold{release: release, ended: make(chan struct{})}
	go asset.hold.keep(holdContext, f, stream)
	return asset, nil
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

// keep holds until it is released: whenever the stream is cut, the same version is fetched
// again, which is a hit as long as the daemon still has it.
func (h *hold) keep(ctx context.Context, call *fetchCall, stream *eventStream) {
	defer close(h.ended)
	defer h.release()
	// A report may use what its caller has taken down by now, and what is here need not be
	// downloaded once more.
	call.report = nil
	call.request.ForceDownload = false
	err := call.client.repeat(ctx, call.client.retry.forHolds(), func(count *tries) (err error) {
		if stream == nil {
			if stream, _, err = call.complete(ctx, count); err != nil {
				return err
			}
			count.beginAnew()
		}
		cut := stream.wait()
		stream = nil
		if cut == nil {
			return cutShort()
		}
		return cut
	})
	if ctx.Err() == nil {
		h.lost = err
	}
}

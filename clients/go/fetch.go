package assetd

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// Fetch makes the version that spec stands for present on this node, and returns where it
// is. All callers for one version share one download; a version that is present is a hit.
//
// spec is name[:version][[sub/part]]: nlp/ranker, nlp/ranker:1, nlp/ranker:1.2,
// nlp/tokens:0.1[vocab/en.txt].
//
// A stream that is cut is joined again: for the version that the first stream named, even
// when a newer one was pushed meanwhile. When ctx ends, so does the call; the bytes that
// arrived are kept for a while.
//
// It fails with an [*Error]. ReasonAssetNotFound, ReasonVersionNotFound, ReasonPartNotFound:
// there is no such thing. ReasonCacheFull, ReasonDiskFull: wait RetryAfter, then try again.
// ReasonDigestMismatch, ReasonBadManifest, ReasonBadIndex: stop and raise an alarm. The code
// Unavailable: the retries are used up. See the constants for the rest.
func (c *Client) Fetch(
	ctx context.Context, spec string, options ...FetchOption,
) (*Asset, error) {
	call := &fetchCall{
		client:   c,
		request:  &assetdv1.FetchRequest{Spec: spec, Caller: c.caller},
		progress: nothingYet,
	}
	for _, option := range options {
		option.changeFetch(call)
	}
	if call.request.GetHold() {
		return call.runHeld(ctx)
	}
	return call.run(ctx)
}

// fetchCall is one call of Fetch over all its streams, and then of its hold.
type fetchCall struct {
	client  *Client
	request *assetdv1.FetchRequest
	report  func(Progress)
	// The first event of the first stream that brought one.
	started  *assetdv1.FetchStarted
	progress Progress
}

func (f *fetchCall) run(ctx context.Context) (*Asset, error) {
	var completed *assetdv1.FetchCompleted
	err := f.client.repeat(ctx, f.client.retry.forCalls(), func(count *tries) error {
		stream, last, err := f.complete(ctx, count)
		if err != nil {
			return err
		}
		// Read to its end, so that the daemon does not count a caller that left.
		_ = stream.wait()
		completed = last
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f.asset(completed), nil
}

// eventStream is one open Fetch. Whoever has it calls end or wait.
type eventStream struct {
	events grpc.ServerStreamingClient[assetdv1.FetchResponse]
	end    context.CancelFunc
}

// wait reads until the stream ends, and returns why; nil for a good end.
func (s *eventStream) wait() error {
	defer s.end()
	for {
		if _, err := s.events.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// complete opens a stream and follows it to its last event. The stream it returns is open.
func (f *fetchCall) complete(
	ctx context.Context, count *tries,
) (_ *eventStream, completed *assetdv1.FetchCompleted, err error) {
	ctx, end := context.WithCancel(ctx)
	defer func() {
		// Also when the caller's report panics.
		if completed == nil {
			end()
		}
	}()
	events, err := f.client.service.Fetch(ctx, f.request)
	if err != nil {
		return nil, nil, err
	}
	completed, err = f.follow(events, count)
	if err != nil {
		return nil, nil, err
	}
	return &eventStream{events, end}, completed, nil
}

func (f *fetchCall) follow(
	events grpc.ServerStreamingClient[assetdv1.FetchResponse], count *tries,
) (*assetdv1.FetchCompleted, error) {
	for {
		response, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return nil, cutShort()
		}
		if err != nil {
			return nil, err
		}
		switch event := response.GetEvent().(type) {
		case *assetdv1.FetchResponse_Started:
			f.onStarted(event.Started)
		case *assetdv1.FetchResponse_Progress:
			f.onProgress(event.Progress, count)
		case *assetdv1.FetchResponse_Completed:
			return event.Completed, nil
		}
	}
}

// cutShort returns the failure of a stream that ended well although more was owed, which the
// contract rules out: to repeat the call would hide a defect of the daemon.
func cutShort() *Error {
	return &Error{
		Code:    codes.Internal,
		Message: "the daemon ended the stream too early, and without an error",
	}
}

// onStarted pins the spec, so that another stream joins the same download.
func (f *fetchCall) onStarted(started *assetdv1.FetchStarted) {
	if f.started != nil {
		return
	}
	f.started = started
	f.request.Spec = pinned(f.request.GetSpec(), started.GetAssetVersion())
}

func (f *fetchCall) onProgress(message *assetdv1.FetchProgress, count *tries) {
	before := f.progress
	f.progress = before.followedBy(message)
	if f.progress.PresentBytes > before.PresentBytes {
		count.beginAnew()
	}
	if f.report != nil {
		f.report(f.progress)
	}
}

// pinned returns the spec of exactly this version, with the part of spec. A path that has no
// version, as there may be without a store, cannot be pinned.
func pinned(spec string, version *assetdv1.AssetVersion) string {
	if version.GetVersion() == "" {
		return spec
	}
	part := ""
	if bracket := strings.IndexByte(spec, '['); bracket >= 0 {
		part = spec[bracket:]
	}
	return version.GetName() + ":" + version.GetVersion() + part
}

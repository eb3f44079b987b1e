package assetd

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// Fetch makes the version that spec stands for present on this node, and returns where it
// is. All callers for one version share one download; a version that is present is a hit.
//
// spec is name[:version][[sub/part]]: nlp/ranker, nlp/ranker:1, nlp/ranker:1.2,
// nlp/tokens:0.1[vocab/en.txt]. With a part the path points at it; all of the version is
// fetched.
//
// A spec with a full version that stands in ASSETS_DIR (see [WithAssetsDir]) is found there,
// without a call and whether or not a daemon runs. Every option makes it a call but [WithHold],
// [WithStoreTimeout], [WithProgressInterval] and [WithProgress]. Every fetch looks anew: what has
// been evicted is not found again.
//
// A stream that is cut is joined again: for the version that the first stream named, even
// when a newer one was pushed meanwhile. When ctx ends, so does the call; the bytes that
// arrived are kept for a while.
//
// It fails with an [*Error]. ReasonAssetNotFound, ReasonVersionNotFound, ReasonPartNotFound:
// there is no such thing. ReasonCacheFull, ReasonDiskFull: wait RetryAfter, then try again.
// ReasonDigestMismatch, ReasonBadManifest, ReasonBadIndex: stop and raise an alarm. The code
// Unavailable: patience has ended. See the constants for the rest.
func (c *Client) Fetch(
	ctx context.Context, spec string, options ...FetchOption,
) (*Asset, error) {
	call := fetchCall{
		client:  c,
		request: &assetdv1.FetchRequest{Spec: spec, Caller: c.caller},
		figures: figures{shown: nothingYet},
	}
	for _, option := range options {
		option.changeFetch(&call)
	}
	if ctx.Err() != nil {
		return nil, c.interrupted(ctx, nil)
	}
	if asset := call.hit(); asset != nil {
		return asset, nil
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
	figures figures
	// The first event of the first stream that brought one.
	started *assetdv1.FetchStarted
	// The version is here and only held again: its progress is of no interest.
	isHeld bool
}

// hit returns the asset if it can be had without a call, else nil. It cannot, if there is a wish
// that only the daemon can grant.
func (f *fetchCall) hit() *Asset {
	request := f.request
	if f.client.fast == nil || f.client.life.Err() != nil ||
		request.GetFreshness() != assetdv1.Freshness_FRESHNESS_UNSPECIFIED ||
		request.GetExpectedDigest() != "" || len(request.GetInclude()) > 0 ||
		len(request.GetExclude()) > 0 || request.GetPartOnly() || request.GetVerify() ||
		request.GetForceDownload() {
		return nil
	}
	return f.client.fast.hit(request.GetSpec(), request.GetHold())
}

func (f *fetchCall) run(ctx context.Context) (*Asset, error) {
	var completed *assetdv1.FetchCompleted
	err := f.client.repeat(ctx, f.client.retry.forCalls(), func(count *tries) error {
		stream, last, err := f.complete(ctx, count)
		if err != nil {
			return err
		}
		// Read to its end, so that the daemon does not count a caller that left. Whatever the
		// status says, a version that completed is here.
		stream.watch.listen()
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
	watch  *watch
	end    context.CancelCauseFunc
}

// wait reads until the stream ends, and returns why; nil for a good end.
func (s *eventStream) wait() error {
	defer s.end(nil)
	defer s.watch.rest()
	for {
		if _, err := s.events.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return toError(err, s.events.Trailer())
		}
	}
}

// complete opens a stream and follows it to its last event. The stream it returns is open,
// and nobody watches it any more.
func (f *fetchCall) complete(
	ctx context.Context, count *tries,
) (_ *eventStream, completed *assetdv1.FetchCompleted, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer func() {
		// Also when the caller's report panics.
		if completed == nil {
			end(nil)
		}
	}()
	silence := f.client.retry.silenceOf(f.request)
	stream := &eventStream{watch: f.client.watching(silence, end), end: end}
	// gRPC waits for a connection here, and for as long as dialling takes.
	if stream.events, err = f.client.service.Fetch(ctx, f.request); err != nil {
		return nil, nil, err
	}
	f.figures.newStream()
	completed, err = f.follow(stream, count)
	if err != nil && context.Cause(ctx) == errStalled {
		err = f.client.stalled(silence)
	}
	return stream, completed, err
}

func (f *fetchCall) follow(stream *eventStream, count *tries) (*assetdv1.FetchCompleted, error) {
	for {
		stream.watch.listen()
		response, err := stream.events.Recv()
		stream.watch.rest()
		if errors.Is(err, io.EOF) {
			return nil, cutShort("fetch")
		}
		if err != nil {
			return nil, toError(err, stream.events.Trailer())
		}
		count.answered(response.GetProgress().GetPresentBytes())
		switch event := response.GetEvent().(type) {
		case *assetdv1.FetchResponse_Started:
			f.onStarted(event.Started)
		case *assetdv1.FetchResponse_Progress:
			err = f.onProgress(event.Progress)
		case *assetdv1.FetchResponse_Completed:
			if f.started == nil {
				return nil, cutShort("fetch")
			}
			return event.Completed, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// cutShort returns the failure of a stream that ended although more was owed, which the
// contract rules out: to repeat the call would hide a defect of the daemon.
func cutShort(what string) *Error {
	return ownError(ReasonInternal, "the daemon ended the "+what+" without an answer")
}

// onStarted pins the spec, so that another stream joins the same download.
func (f *fetchCall) onStarted(started *assetdv1.FetchStarted) {
	if f.started != nil {
		return
	}
	f.started = started
	f.request.Spec = pinned(f.request.GetSpec(), started.GetAssetVersion())
}

func (f *fetchCall) onProgress(message *assetdv1.FetchProgress) error {
	if f.isHeld {
		return nil
	}
	if err := f.figures.note(message); err != nil {
		return err
	}
	if f.report != nil {
		f.report(f.figures.shown)
	}
	return nil
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

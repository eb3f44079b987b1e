package assetd

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

type pushStream = grpc.BidiStreamingClient[assetdv1.PushRequest, assetdv1.PushResponse]

// pushCall is one push of some content under one header, over all its streams. The two sides
// take turns. All files are announced before the first chunk, so that the daemon knows the
// whole version when bytes begin to arrive. The push id makes repeating it safe.
type pushCall struct {
	client  *Client
	header  *assetdv1.PushHeader
	exclude []string
	content content
	meter   pushMeter
	tries   int
}

// run creates the version, or nothing; cut streams are continued. Each try is the same push
// under the same push id, and sends what the daemon then wants. Tries go on for as long as one
// comes further than all before, and then for the patience of the policy, also while the daemon
// takes an earlier one for alive.
func (p *pushCall) run(ctx context.Context) (*PushedVersion, error) {
	var completed *assetdv1.PushCompleted
	how := repetition{p.client.retry, p.passes}
	err := p.client.repeat(ctx, how, func(count *tries) (err error) {
		p.tries++
		completed, err = p.try(ctx, count)
		return p.explained(err)
	})
	if err != nil {
		return nil, err
	}
	return p.pushed(completed), nil
}

// passes tells whether the push that is in progress is an earlier try of this one, whose stream
// the daemon does not know to be dead yet. A daemon that names the push which is in the way is
// believed; else it is ours, if there was such a stream.
func (p *pushCall) passes(failure *Error) bool {
	if failure.Reason != ReasonPushInProgress {
		return false
	}
	if id := failure.Metadata["push_id"]; id != "" {
		return id == p.header.GetPushId()
	}
	return p.tries > 1
}

// explained finds out whose doing it is that the daemon sees other bytes than it was told.
func (p *pushCall) explained(err error) error {
	if errors.Is(err, ReasonPushMismatch) {
		if changed := p.content.checkUnchanged(); changed != nil {
			return changed
		}
	}
	return err
}

// try follows one stream. It leaves neither a call nor a goroutine behind.
func (p *pushCall) try(ctx context.Context, count *tries) (*assetdv1.PushCompleted, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.client.service.Push(ctx)
	if err != nil {
		return nil, err
	}
	sender := newSender(stream)
	defer func() {
		// Also when the caller's report panics.
		cancel()
		sender.end()
		<-sender.done
	}()
	completed, err := p.follow(ctx, stream, sender, count)
	if err == nil {
		return completed, nil
	}
	cancel()
	sender.end()
	<-sender.done
	if sender.failure != nil {
		return nil, sender.failure
	}
	return nil, err
}

func (p *pushCall) follow(
	ctx context.Context, stream pushStream, sender *sender, count *tries,
) (*assetdv1.PushCompleted, error) {
	batches := p.content.batches()
	var wanted []*assetdv1.PushWanted_Part
	sender.take(ctx, sending(&assetdv1.PushRequest{
		Step: &assetdv1.PushRequest_Header{Header: p.header},
	}))
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, cutShort("push")
		}
		if err != nil {
			return nil, toError(err, stream.Trailer())
		}
		p.meter.observe(response)
		count.answered(p.meter.furthest())
		switch event := response.GetEvent().(type) {
		case *assetdv1.PushResponse_Completed:
			// The status comes right behind. Whatever it says, the version exists.
			sender.end()
			drain(stream)
			return event.Completed, nil
		case *assetdv1.PushResponse_Wanted:
			wanted = append(wanted, event.Wanted.GetParts()...)
		case *assetdv1.PushResponse_Accepted:
		default:
			continue
		}
		if len(batches) > 0 {
			sender.take(ctx, sending(&assetdv1.PushRequest{
				Step: &assetdv1.PushRequest_Files{Files: batches[0]},
			}))
			batches = batches[1:]
			continue
		}
		if err := p.takeLast(ctx, sender, wanted); err != nil {
			return nil, err
		}
	}
}

func (p *pushCall) takeLast(
	ctx context.Context, sender *sender, wanted []*assetdv1.PushWanted_Part,
) error {
	bytes, travel, err := p.content.wanted(wanted)
	if err != nil {
		return err
	}
	if travel {
		p.meter.lacks(bytes)
	}
	sender.take(ctx, p.content.last(wanted))
	return nil
}

func (p *pushCall) pushed(completed *assetdv1.PushCompleted) *PushedVersion {
	version := completed.GetAssetVersion()
	sizeBytes, fileCount := extent(version)
	return &PushedVersion{
		Name:           version.GetName(),
		Version:        version.GetVersion(),
		Digest:         version.GetDigest(),
		SizeBytes:      sizeBytes,
		FileCount:      fileCount,
		Labels:         version.GetLabels(),
		PushedBy:       version.GetPushedBy(),
		AlreadyExisted: completed.GetAlreadyExisted(),
		PushID:         p.header.GetPushId(),
	}
}

// drain reads a stream that has answered to its end, so that it ends well on the other side.
func drain(stream pushStream) {
	for {
		if _, err := stream.Recv(); err != nil {
			return
		}
	}
}

// sender sends the turns of one stream from a goroutine of its own, so that the daemon is
// listened to meanwhile. Files are read as fast as the daemon takes their bytes.
type sender struct {
	stream pushStream
	turns  chan turn
	over   context.Context
	end    context.CancelFunc
	done   chan struct{}
	// Why a turn could not be made, such as a source that changed. To be read once done is
	// closed.
	failure error
}

func newSender(stream pushStream) *sender {
	sender := &sender{stream: stream, turns: make(chan turn, 1), done: make(chan struct{})}
	sender.over, sender.end = context.WithCancel(context.Background())
	go sender.run()
	return sender
}

func sending(request *assetdv1.PushRequest) turn {
	return func(send func(*assetdv1.PushRequest) error) error { return send(request) }
}

// take sends these next, unless nothing is sent any more.
func (s *sender) take(ctx context.Context, turn turn) {
	select {
	case s.turns <- turn:
	case <-s.done:
	case <-ctx.Done():
	}
}

// errEnded is what sends fail with once the stream has ended: receiving tells why.
var errEnded = errors.New("the stream has ended")

func (s *sender) run() {
	defer close(s.done)
	// A stream that ends without a commit here is one by which the daemon gives up too.
	defer s.stream.CloseSend()
	for {
		select {
		case turn := <-s.turns:
			if err := turn(s.send); err != nil {
				if !errors.Is(err, errEnded) {
					s.failure = err
				}
				return
			}
		case <-s.over.Done():
			return
		}
	}
}

func (s *sender) send(request *assetdv1.PushRequest) error {
	if s.over.Err() != nil || s.stream.Send(request) != nil {
		return errEnded
	}
	return nil
}

package main

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// arrival notes whether a fetch joined a download that another caller had begun. That stands in
// the first event of its stream, which the client reads for itself; so it is read on its way.
type arrival struct {
	first  sync.Once
	joined atomic.Bool
}

// note keeps what the first stream says: one that follows after a cut joins in any case.
func (a *arrival) note(started *assetdv1.FetchStarted) {
	a.first.Do(func() { a.joined.Store(started.GetJoined()) })
}

// intercept is the grpc.StreamClientInterceptor that does so.
func (a *arrival) intercept(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, connection, method, options...)
	if err != nil {
		return nil, err
	}
	return &watchedStream{stream, a}, nil
}

type watchedStream struct {
	grpc.ClientStream
	arrival *arrival
}

// RecvMsg receives the next message, and looks at it.
func (s *watchedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if response, isFetch := message.(*assetdv1.FetchResponse); isFetch && err == nil {
		if started := response.GetStarted(); started != nil {
			s.arrival.note(started)
		}
	}
	return err
}

package assetd

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// script is what the daemon does with one call of Fetch.
type script func(events) error

type events = grpc.ServerStreamingServer[assetdv1.FetchResponse]

// daemon is an AssetService on a unix socket that plays one script a call, in their order.
type daemon struct {
	assetdv1.UnimplementedAssetServiceServer
	address string
	server  *grpc.Server
	resolve func(context.Context, *assetdv1.ResolveVersionRequest) (
		*assetdv1.ResolveVersionResponse, error)
	list      func(*assetdv1.ListRequest) (*assetdv1.ListResponse, error)
	listFiles func(*assetdv1.ListFilesRequest) (*assetdv1.ListFilesResponse, error)
	pushes

	mutex    sync.Mutex
	changed  *sync.Cond
	scripts  []script
	requests []*assetdv1.FetchRequest
	metadata []metadata.MD
	open     int
}

func startDaemon(t *testing.T, scripts ...script) *daemon {
	t.Helper()
	// t.TempDir has the test's name in it, and a socket's path has at most 107 bytes.
	folder, err := os.MkdirTemp("", "assetd-go-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	daemon := &daemon{address: "unix://" + filepath.Join(folder, "assetd.sock"), scripts: scripts}
	daemon.changed = sync.NewCond(&daemon.mutex)
	daemon.start(t)
	t.Cleanup(func() {
		daemon.server.Stop()
		if left := len(daemon.scripts); left > 0 && !t.Failed() {
			t.Errorf("%d calls fewer than scripted", left)
		}
	})
	return daemon
}

// start listens; after a stop, on the same socket.
func (d *daemon) start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", d.address[len("unix://"):])
	if err != nil {
		t.Fatal(err)
	}
	d.server = grpc.NewServer()
	assetdv1.RegisterAssetServiceServer(d.server, d)
	assetdv1.RegisterCacheServiceServer(d.server, cache{})
	go d.server.Serve(listener)
}

// cache is the CacheService of a daemon whose ASSETS_DIR is /assets.
type cache struct {
	assetdv1.UnimplementedCacheServiceServer
}

func (cache) GetCacheStatus(
	context.Context, *assetdv1.GetCacheStatusRequest,
) (*assetdv1.GetCacheStatusResponse, error) {
	return &assetdv1.GetCacheStatusResponse{AssetsDir: "/assets"}, nil
}

func (d *daemon) Fetch(request *assetdv1.FetchRequest, stream events) error {
	script := d.enter(stream.Context(), request)
	defer d.leave()
	if script == nil {
		return status.Error(codes.Unimplemented, "no script for this call")
	}
	return script(stream)
}

func (d *daemon) ResolveVersion(
	ctx context.Context, request *assetdv1.ResolveVersionRequest,
) (*assetdv1.ResolveVersionResponse, error) {
	return d.resolve(ctx, request)
}

func (d *daemon) List(
	_ context.Context, request *assetdv1.ListRequest,
) (*assetdv1.ListResponse, error) {
	return d.list(request)
}

func (d *daemon) ListFiles(
	_ context.Context, request *assetdv1.ListFilesRequest,
) (*assetdv1.ListFilesResponse, error) {
	return d.listFiles(request)
}

func (d *daemon) enter(ctx context.Context, request *assetdv1.FetchRequest) (next script) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.open++
	d.requests = append(d.requests, request)
	sent, _ := metadata.FromIncomingContext(ctx)
	d.metadata = append(d.metadata, sent)
	if len(d.scripts) > 0 {
		next, d.scripts = d.scripts[0], d.scripts[1:]
	}
	d.changed.Broadcast()
	return next
}

func (d *daemon) leave() {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.open--
	d.changed.Broadcast()
}

// awaitQuiet returns once no Fetch is open. A stream that leaks makes it wait for ever.
func (d *daemon) awaitQuiet() {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for d.open > 0 {
		d.changed.Wait()
	}
}

// awaitCalls returns once so many calls of Fetch have come.
func (d *daemon) awaitCalls(count int) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for len(d.requests) < count {
		d.changed.Wait()
	}
}

// specs returns what the calls asked for.
func (d *daemon) specs() (specs []string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for _, request := range d.requests {
		specs = append(specs, request.GetSpec())
	}
	return specs
}

// pauses records what a client would have waited between its attempts, and makes that time
// pass at once.
type pauses struct {
	mutex   sync.Mutex
	lengths []time.Duration
	passed  time.Duration
	begin   time.Time
}

func (p *pauses) pause(ctx context.Context, length time.Duration) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.lengths = append(p.lengths, length)
	p.passed += length
	return ctx.Err()
}

func (p *pauses) now() time.Time {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.begin.Add(p.passed)
}

// newClient returns a client of daemon that does not wait, and the record of what it would
// have waited. The test fails to end while a stream of the client is open.
func newClient(t *testing.T, daemon *daemon, options ...Option) (*Client, *pauses) {
	t.Helper()
	client, err := New(daemon.address, options...)
	if err != nil {
		t.Fatal(err)
	}
	record := &pauses{begin: time.Now()}
	client.clock = clock{record.now, record.pause}
	t.Cleanup(func() {
		if !t.Failed() {
			daemon.awaitQuiet()
		}
		client.Close()
	})
	return client, record
}

// The one asset of these tests.
var ranker = &assetdv1.AssetVersion{
	Name: "nlp/ranker", Version: "1.2", Kind: assetdv1.AssetKind_ASSET_KIND_FILE,
	SizeBytes: proto.Int64(100), FileCount: proto.Int32(1), Digest: "sha256:ab",
}

func started() *assetdv1.FetchResponse {
	return &assetdv1.FetchResponse{Event: &assetdv1.FetchResponse_Started{
		Started: &assetdv1.FetchStarted{
			AssetVersion: ranker, TotalBytes: 100, TotalFiles: 1,
			Resolution: assetdv1.Resolution_RESOLUTION_STORE,
		},
	}}
}

func progressed(presentBytes int64) *assetdv1.FetchResponse {
	return &assetdv1.FetchResponse{Event: &assetdv1.FetchResponse_Progress{
		Progress: &assetdv1.FetchProgress{
			Phase:        assetdv1.FetchPhase_FETCH_PHASE_DOWNLOADING,
			PresentBytes: presentBytes,
			TotalBytes:   proto.Int64(100),
			TotalFiles:   proto.Int32(1),
		},
	}}
}

func completed() *assetdv1.FetchResponse {
	return &assetdv1.FetchResponse{Event: &assetdv1.FetchResponse_Completed{
		Completed: &assetdv1.FetchCompleted{
			Path: "/assets/nlp/ranker/1.2", RelativePath: "nlp/ranker/1.2", AssetVersion: ranker,
			Source:           assetdv1.Source_SOURCE_STORE,
			Verification:     assetdv1.Verification_VERIFICATION_CHECKSUM,
			TransferredBytes: 100,
			ReusedBytes:      7,
			Elapsed:          durationpb.New(time.Second),
		},
	}}
}

// play sends the responses and ends the call with the given error, nil for a good end.
func play(end error, responses ...*assetdv1.FetchResponse) script {
	return func(stream events) error {
		for _, response := range responses {
			if err := stream.Send(response); err != nil {
				return err
			}
		}
		return end
	}
}

// playAndStay sends the responses and leaves the call open until the caller ends it, or until
// cut is closed: then it ends with the given error.
func playAndStay(cut <-chan struct{}, end error, responses ...*assetdv1.FetchResponse) script {
	return func(stream events) error {
		if err := play(nil, responses...)(stream); err != nil {
			return err
		}
		select {
		case <-cut:
			return end
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// impatient clients repeat nothing.
var impatient = WithRetryPolicy(RetryPolicy{Patience: -1, ConnectPatience: -1})

var (
	errCut  = status.Error(codes.Unavailable, "connection reset by peer")
	forever = make(chan struct{})
)

// leavingAtTheEnd has leave called when the last event or the error of a stream has arrived,
// and before the client gets it.
func leavingAtTheEnd(leave context.CancelFunc) Option {
	return receivingBy(func(message *assetdv1.FetchResponse, receive func() error) error {
		err := receive()
		if err != nil || message.GetCompleted() != nil {
			leave()
		}
		return err
	})
}

// receivingBy puts step around each receipt of an event.
func receivingBy(step func(*assetdv1.FetchResponse, func() error) error) Option {
	return WithDialOptions(grpc.WithStreamInterceptor(func(
		ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn,
		method string, streamer grpc.Streamer, options ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, description, connection, method, options...)
		return steppedStream{stream, step}, err
	}))
}

type steppedStream struct {
	grpc.ClientStream
	step func(*assetdv1.FetchResponse, func() error) error
}

func (s steppedStream) RecvMsg(message any) error {
	return s.step(message.(*assetdv1.FetchResponse), func() error {
		return s.ClientStream.RecvMsg(message)
	})
}

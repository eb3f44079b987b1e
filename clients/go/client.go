package assetd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// reconnects is how gRPC connects again below the calls. Its own figures are a second to two
// minutes, during which every call fails: a daemon that is back would not be noticed.
var reconnects = grpc.ConnectParams{
	Backoff: backoff.Config{
		BaseDelay:  50 * time.Millisecond,
		Multiplier: 2,
		Jitter:     0.2,
		MaxDelay:   500 * time.Millisecond,
	},
	MinConnectTimeout: 5 * time.Second,
}

// alive notices a daemon that is frozen, or out of reach: a hold is silent by design, and is
// then taken again. The daemon allows a ping every 5 s.
var alive = keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}

// Client is a connection to the daemon of this node. It is safe for concurrent use, and one
// is enough for a program.
type Client struct {
	address    string
	caller     string
	retry      RetryPolicy
	connection *grpc.ClientConn
	service    assetdv1.AssetServiceClient
	// Where this process sees ASSETS_DIR, and what looks there; empty and nil: nowhere.
	assetsDir string
	fast      *fastPath
	// Ended by Close; every hold ends with it.
	life context.Context
	end  context.CancelFunc
	// Tests put their own here.
	clock     clock
	afterFunc func(time.Duration, func()) timer
}

// Option changes what [New] makes.
type Option func(*settings)

type settings struct {
	caller      string
	retry       RetryPolicy
	credentials credentials.TransportCredentials
	dialOptions []grpc.DialOption
	// Nil: that of the environment.
	assetsDir *string
}

// WithCaller names this program, such as "ranker-server", in the daemon's logs and in its
// list of holds. It grants nothing. Without it, the program's name and process id.
func WithCaller(name string) Option {
	return func(settings *settings) { settings.caller = name }
}

// WithRetryPolicy says how long a daemon may be away, or silent, before a call fails. Fields
// that are zero keep their default.
func WithRetryPolicy(policy RetryPolicy) Option {
	return func(settings *settings) { settings.retry = policy }
}

// WithAssetsDir says where this process sees the daemon's ASSETS_DIR. Pinned versions that
// stand there are found without a call. Without this option it is what the environment
// variable ASSETS_DIR says, else MODELKIT_ASSETS_DIR. An empty folder: every fetch is a call.
func WithAssetsDir(folder string) Option {
	return func(settings *settings) { settings.assetsDir = &folder }
}

// WithTransportCredentials sets how the daemon is trusted, such as TLS of the package
// google.golang.org/grpc/credentials. A host:port beyond this node needs it.
func WithTransportCredentials(credentials credentials.TransportCredentials) Option {
	return func(settings *settings) { settings.credentials = credentials }
}

// WithDialOptions hands options to gRPC, where they win over this package's: interceptors,
// tracing, keep-alive, credentials of single calls.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(settings *settings) {
		settings.dialOptions = append(settings.dialOptions, options...)
	}
}

// New returns a client for the daemon at address: unix:///path/to/assetd.sock or host:port.
// An empty address means ASSETD_ADDRESS, or where that is not set the socket of a daemon of
// this user: unix:///run/assetd/assetd.sock for root, else assetd/assetd.sock below
// XDG_RUNTIME_DIR.
//
// Nothing is dialled before the first call, so a daemon that is not up yet is no failure
// here. The only failures are addresses: malformed, none to be found, or beyond this node
// without [WithTransportCredentials].
//
// The caller closes the client.
func New(address string, options ...Option) (*Client, error) {
	var settings settings
	for _, option := range options {
		option(&settings)
	}
	if address == "" {
		var err error
		if address, err = defaultAddress(os.Getenv, os.Geteuid()); err != nil {
			return nil, err
		}
	}
	return connect(address, settings)
}

func connect(address string, settings settings) (*Client, error) {
	target, isLocal, err := dialTarget(address)
	if err != nil {
		return nil, err
	}
	if settings.credentials == nil {
		if !isLocal {
			return nil, fmt.Errorf("assetd: %q is beyond this node: add WithTransportCredentials, "+
				"so that nothing is said in the clear", address)
		}
		settings.credentials = insecure.NewCredentials()
	}
	assetsDir, err := settings.findAssetsDir(os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("assetd: where is ASSETS_DIR? %w", err)
	}
	connection, err := grpc.NewClient(target, settings.allDialOptions()...)
	if err != nil {
		return nil, fmt.Errorf("assetd: %q cannot be dialled: %w", address, err)
	}
	client := &Client{
		address:    address,
		caller:     settings.caller,
		retry:      settings.retry.withDefaults(),
		connection: connection,
		service:    assetdv1.NewAssetServiceClient(connection),
		assetsDir:  assetsDir,
		clock:      clock{time.Now, pause},
		afterFunc:  func(after time.Duration, f func()) timer { return time.AfterFunc(after, f) },
	}
	if client.caller == "" {
		client.caller = fmt.Sprintf("%s[%d]", filepath.Base(os.Args[0]), os.Getpid())
	}
	client.life, client.end = context.WithCancel(context.Background())
	if assetsDir != "" {
		client.fast = newFastPath(assetsDir, client.life)
	}
	return client, nil
}

// findAssetsDir returns the directory that this process knows the node's versions in, as an
// absolute path, or nothing. The names are the daemon's own; which of the two wins is as there.
func (s settings) findAssetsDir(getenv func(string) string) (string, error) {
	folder := getenv("ASSETS_DIR")
	if folder == "" {
		folder = getenv("MODELKIT_ASSETS_DIR")
	}
	if s.assetsDir != nil {
		folder = *s.assetsDir
	}
	if folder == "" {
		return "", nil
	}
	return filepath.Abs(folder)
}

func (s settings) allDialOptions() []grpc.DialOption {
	own := []grpc.DialOption{
		grpc.WithTransportCredentials(s.credentials),
		grpc.WithConnectParams(reconnects),
		// Calls are repeated here and nowhere else: a service config that is found by DNS could
		// add retries of its own below these.
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		// A daemon is on this node: HTTPS_PROXY in the environment is not about it.
		grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(alive),
	}
	return append(own, s.dialOptions...)
}

// Close ends the calls and the holds of this client and closes its connection. It is
// harmless to call it twice.
func (c *Client) Close() error {
	if c.life.Err() != nil {
		return nil
	}
	c.end()
	return c.connection.Close()
}

// Connection returns the connection itself, for the stubs of the package assetdv1. It ends
// with the client.
func (c *Client) Connection() grpc.ClientConnInterface {
	return c.connection
}

// Resolve tells which version a spec stands for now, how that was found, and what the cache
// of this node holds of it. It changes nothing: without a hold the version may be evicted
// right after.
//
// It fails with an [*Error]: ReasonAssetNotFound, ReasonVersionNotFound, ReasonNotCached with
// [FreshnessCache], ReasonStoreUnavailable once patience has ended.
func (c *Client) Resolve(
	ctx context.Context, spec string, options ...ResolveOption,
) (*assetdv1.ResolveVersionResponse, error) {
	request := &assetdv1.ResolveVersionRequest{Spec: spec}
	for _, option := range options {
		option.changeResolve(request)
	}
	return ask(ctx, c, c.service.ResolveVersion, request)
}

// ask makes a call that may be made twice, repeating it as the policy says.
func ask[Request, Response any](
	ctx context.Context, c *Client,
	method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request *Request,
) (*Response, error) {
	var response *Response
	err := c.repeat(ctx, c.retry.forCalls(), func(*tries) (err error) {
		var trailer metadata.MD
		if response, err = method(ctx, request, grpc.Trailer(&trailer)); err != nil {
			return toError(err, trailer)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

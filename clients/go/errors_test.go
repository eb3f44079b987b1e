package assetd

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// failing returns a status as the daemon sends it.
func failing(
	t *testing.T, code codes.Code, message string, details ...protoadapt.MessageV1,
) error {
	t.Helper()
	answer, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Err()
}

func because(reason Reason) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{
		Domain: "assetd.v1", Reason: string(reason), Metadata: map[string]string{"spec": "nlp/ranker"},
	}
}

// What a daemon sends arrives as an Error, one row for each code that the contract knows.
func TestErrorsAtTheWire(t *testing.T) {
	for reason, code := range map[Reason]codes.Code{
		ReasonInvalidSpec:       codes.InvalidArgument,
		ReasonVersionNotFound:   codes.NotFound,
		ReasonVersionExists:     codes.AlreadyExists,
		ReasonPushInProgress:    codes.Aborted,
		ReasonNoStore:           codes.FailedPrecondition,
		ReasonCacheFull:         codes.ResourceExhausted,
		ReasonStoreUnavailable:  codes.Unavailable,
		ReasonStoreAccessDenied: codes.PermissionDenied,
		ReasonUnauthenticated:   codes.Unauthenticated,
		ReasonDigestMismatch:    codes.DataLoss,
		ReasonNotBuilt:          codes.Unimplemented,
		ReasonIOError:           codes.Internal,
		Reason("OF_THE_FUTURE"): codes.NotFound,
	} {
		t.Run(string(reason), func(t *testing.T) {
			sent := failing(t, code, "what happened", because(reason),
				&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
			daemon := startDaemon(t, play(sent))
			client, _ := newClient(t, daemon, impatient)

			_, err := client.Fetch(t.Context(), "nlp/ranker")

			var failure *Error
			if !errors.As(err, &failure) || !errors.Is(err, reason) {
				t.Fatalf("got %v", err)
			}
			if failure.Code != code || failure.Message != "what happened" ||
				failure.Metadata["spec"] != "nlp/ranker" || failure.RetryAfter != 3*time.Second {
				t.Errorf("got %+v", failure)
			}
			if errors.Is(err, ReasonInternal) || errors.Is(err, context.Canceled) {
				t.Error("it is taken for another failure, too")
			}
			if details := status.Convert(err).Details(); len(details) != 2 {
				t.Errorf("gRPC sees the details %v", details)
			}
			if want := fmt.Sprintf("assetd: %s: what happened", reason); err.Error() != want {
				t.Errorf("it reads %q", err)
			}
		})
	}
}

// The reason also stands in a trailer, should something strip the details on the way.
func TestTheReasonOfTheTrailer(t *testing.T) {
	daemon := startDaemon(t, func(stream events) error {
		stream.SetTrailer(metadata.Pairs("assetd-reason", "CACHE_FULL"))
		return status.Error(codes.ResourceExhausted, "no room")
	})
	daemon.resolve = func(
		ctx context.Context, _ *assetdv1.ResolveVersionRequest,
	) (*assetdv1.ResolveVersionResponse, error) {
		grpc.SetTrailer(ctx, metadata.Pairs("assetd-reason", "STORE_UNAVAILABLE"))
		return nil, status.Error(codes.Unavailable, "away")
	}
	client, _ := newClient(t, daemon, impatient)
	if _, err := client.Fetch(t.Context(), "nlp/ranker"); !errors.Is(err, ReasonCacheFull) {
		t.Errorf("got %v", err)
	}
	_, err := client.Resolve(t.Context(), "nlp/ranker")
	if !errors.Is(err, ReasonStoreUnavailable) || errors.Is(err, ErrDaemonUnavailable) {
		t.Errorf("got %v", err)
	}
}

// Every reason of the contract has its constant, and no constant is made up.
func TestEveryReasonHasAConstant(t *testing.T) {
	var want []string
	for number, name := range assetdv1.ErrorReason_name {
		if number != 0 {
			want = append(want, strings.TrimPrefix(name, "ERROR_REASON_"))
		}
	}
	got := constantsOf(t, "reasons.go")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func constantsOf(t *testing.T, path string) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			value, _ := strconv.Unquote(literal.Value)
			values = append(values, value)
		}
		return true
	})
	return values
}

func TestFromErrorOfAPlainStatus(t *testing.T) {
	var failure *Error
	err := FromError(fmt.Errorf("list: %w", status.Error(codes.NotFound, "unknown service")))
	if !errors.As(err, &failure) || failure.Code != codes.NotFound || failure.Reason != "" {
		t.Errorf("got %#v", err)
	}
	if !strings.HasPrefix(err.Error(), "assetd: NotFound: list: ") {
		t.Errorf("it reads %q", err)
	}
}

func TestFromErrorIgnoresTheInfoOfOthers(t *testing.T) {
	foreign := &errdetails.ErrorInfo{Domain: "proxy.example", Reason: "NO_STORE"}
	err := FromError(failing(t, codes.Unavailable, "no route", foreign))
	if errors.Is(err, ReasonNoStore) {
		t.Errorf("the reason of a proxy became ours: %v", err)
	}
}

func TestFromErrorKeepsWhatIsDone(t *testing.T) {
	if err := FromError(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	known := fmt.Errorf("at start: %w", &Error{Code: codes.NotFound})
	if err := FromError(known); err != known {
		t.Errorf("an Error became %v", err)
	}
	if err := FromError(context.DeadlineExceeded); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end of a context became %v", err)
	}
}

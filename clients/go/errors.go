package assetd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// errorDomain marks the ErrorInfo that assetd wrote; a proxy may add one of its own.
	errorDomain = "assetd.v1"
	// reasonTrailer has the reason once more, should something strip the details on the way.
	reasonTrailer = "assetd-reason"
	// ownPrefix begins what gRPC says of a message that it cannot read or write here, such as
	// "grpc: failed to unmarshal the received message". A repeat would get the same.
	ownPrefix = "grpc: "
)

// ErrDaemonUnavailable is what errors.Is finds in a failure without an answer: no daemon at
// the address, or one that went away, or fell silent, and did not come back.
var ErrDaemonUnavailable = errors.New("assetd: no daemon answers")

// Error is the failure of a call.
//
// errors.Is compares it with a [Reason], with [ErrDaemonUnavailable], and with
// context.Canceled and context.DeadlineExceeded by its code; status.Code and
// status.FromError of gRPC see its status.
type Error struct {
	// Code is the gRPC code, for reactions to a whole class of failures.
	Code codes.Code
	// Reason is why, for programs. Empty when the daemon gave none: it was not there, the
	// stream was cut, or a context ended.
	Reason Reason
	// Message is for people, and may change with any release.
	Message string
	// Metadata holds every value that the message shows, by name.
	Metadata map[string]string
	// RetryAfter is how long the daemon asks to wait before the call is repeated. 0: it did
	// not say.
	RetryAfter time.Duration

	// As it came from the wire. Nil for what this package found out by itself.
	status *status.Status
	cause  error
}

// Error returns the reason, or the code where there is none, and the message.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("assetd: %s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("assetd: %s: %s", e.Reason, e.Message)
}

// Is compares the error with a Reason, with ErrDaemonUnavailable, or with how a context ended.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == codes.Canceled
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	case ErrDaemonUnavailable:
		return e.Code == codes.Unavailable && e.Reason == ""
	}
	reason, ok := target.(Reason)
	return ok && reason == e.Reason
}

// Unwrap returns the failure that was being retried when the context ended, else nil.
func (e *Error) Unwrap() error {
	return e.cause
}

// GRPCStatus returns the status as the daemon sent it, with all its details.
func (e *Error) GRPCStatus() *status.Status {
	if e.status == nil {
		return status.New(e.Code, e.Message)
	}
	return e.status
}

// mayComeFromContext tells whether the end of a context can look like this.
func (e *Error) mayComeFromContext() bool {
	switch e.Code {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		return e.Reason == ""
	}
	return false
}

// isCut tells whether no daemon decided this, or none that can: nobody was there, or something
// on the way ended the stream, which gRPC calls INTERNAL. Where the daemon itself fails, it
// says why.
func (e *Error) isCut() bool {
	return e.Code == codes.Unavailable || e.Code == codes.Internal && e.Reason == ""
}

// explainUnreachable turns gRPC's own failures into what they mean here: the daemon could not
// be reached. One that begins to stop has gRPC cancel the calls that were on their way to it.
// The caller's own cancelling must be told apart before.
func (e *Error) explainUnreachable(address string) {
	if e.status == nil || e.Reason != "" || e.Code != codes.Unavailable && e.Code != codes.Canceled {
		return
	}
	// gRPC puts the system's own words last: `... desc = "...: no such file or directory"`.
	words := strings.TrimSuffix(e.Message, `"`)
	cause := words[strings.LastIndex(words, ": ")+1:]
	cause = strings.TrimSpace(cause)
	e.Code = codes.Unavailable
	e.Message = fmt.Sprintf("no assetd daemon answers at %s (%s): start one with `assetd serve`, "+
		"or name another address by %s", address, cause, addressVariable)
	e.Metadata = map[string]string{"address": address, "cause": cause}
	e.status = nil
}

// FromError returns the failure of a generated stub as an [*Error], and nil for nil. What is
// an *Error already, also deeper in the chain, is returned as it is.
func FromError(err error) error {
	if err == nil || errors.As(err, new(*Error)) {
		return err
	}
	return toError(err, nil)
}

// toError reads a failure of gRPC; trailer is that of the call, if it is known.
func toError(err error, trailer metadata.MD) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	answer, ok := status.FromError(err)
	if !ok {
		answer = status.FromContextError(err)
	}
	failure := &Error{Code: answer.Code(), Message: answer.Message(), status: answer}
	for _, detail := range answer.Details() {
		failure.read(detail)
	}
	if reasons := trailer.Get(reasonTrailer); failure.Reason == "" && len(reasons) > 0 {
		failure.Reason = Reason(reasons[0])
	}
	if failure.Reason == "" && failure.Code == codes.Internal &&
		strings.HasPrefix(failure.Message, ownPrefix) {
		failure.Reason = ReasonInternal
	}
	return failure
}

func (e *Error) read(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		if detail.GetDomain() == errorDomain {
			e.Reason = Reason(detail.GetReason())
			e.Metadata = detail.GetMetadata()
		}
	case *errdetails.RetryInfo:
		e.RetryAfter = detail.GetRetryDelay().AsDuration()
	}
}

// codesOfOwn has the codes of the reasons that this package finds by itself, before anything
// is sent or in what the daemon answers; they are the contract's.
var codesOfOwn = map[Reason]codes.Code{
	ReasonInvalidPart:     codes.InvalidArgument,
	ReasonInvalidField:    codes.InvalidArgument,
	ReasonUnsupportedFile: codes.FailedPrecondition,
	ReasonSourceChanged:   codes.Aborted,
	ReasonNotBuilt:        codes.Unimplemented,
	ReasonInternal:        codes.Internal,
}

// ownError returns a failure that this package found by itself. The metadata are names and
// values in turn.
func ownError(reason Reason, message string, metadata ...string) *Error {
	failure := &Error{Code: codesOfOwn[reason], Reason: reason, Message: message}
	for position := 0; position < len(metadata); position += 2 {
		if failure.Metadata == nil {
			failure.Metadata = make(map[string]string)
		}
		failure.Metadata[metadata[position]] = metadata[position+1]
	}
	return failure
}

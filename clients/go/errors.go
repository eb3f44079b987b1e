package assetd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errorDomain marks the ErrorInfo that assetd wrote; a proxy may add one of its own.
const errorDomain = "assetd.v1"

// Error is the failure of a call.
//
// errors.Is compares it with a [Reason], and with context.Canceled and
// context.DeadlineExceeded by its code; status.Code and status.FromError of gRPC see its
// status.
type Error struct {
	// Code is the gRPC code, for reactions to a whole class of failures.
	Code codes.Code
	// Reason is why, for programs. Empty when gRPC itself failed: no daemon, a stream that
	// was cut, a context that ended.
	Reason Reason
	// Message is for people, and may change with any release.
	Message string
	// Metadata holds every value that the message shows, by name.
	Metadata map[string]string
	// RetryAfter is how long the daemon asks to wait before the call is repeated. 0: it did
	// not say.
	RetryAfter time.Duration

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

// Is compares the error with a Reason, or with how a context ended.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == codes.Canceled
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
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
		return true
	}
	return false
}

// FromError returns the failure of a generated stub as an [*Error], and nil for nil. What is
// an *Error already, also deeper in the chain, is returned as it is.
func FromError(err error) error {
	if err == nil || errors.As(err, new(*Error)) {
		return err
	}
	return toError(err)
}

func toError(err error) *Error {
	if err == nil {
		return nil
	}
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

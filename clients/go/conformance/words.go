package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/assetd/assetd/clients/go"
	"github.com/assetd/assetd/clients/go/assetdv1"
)

// request is what the suite may say; each action reads its own fields.
type request struct {
	ID               string            `json:"id"`
	Do               string            `json:"do"`
	Of               string            `json:"of"`
	Spec             string            `json:"spec"`
	Source           string            `json:"source"`
	Staged           string            `json:"staged"`
	URI              string            `json:"uri"`
	Prefix           string            `json:"prefix"`
	Freshness        string            `json:"freshness"`
	StoreTimeout     *float64          `json:"store_timeout"`
	Timeout          *float64          `json:"timeout"`
	Include          []string          `json:"include"`
	Exclude          []string          `json:"exclude"`
	PartOnly         bool              `json:"part_only"`
	Verify           bool              `json:"verify"`
	ForceDownload    bool              `json:"force_download"`
	ExpectedDigest   string            `json:"expected_digest"`
	ProgressInterval *float64          `json:"progress_interval"`
	Bump             string            `json:"bump"`
	Mode             string            `json:"mode"`
	Labels           map[string]string `json:"labels"`
	PushID           string            `json:"push_id"`
	ValidateOnly     bool              `json:"validate_only"`
	Scope            string            `json:"scope"`
	LatestOnly       bool              `json:"latest_only"`
	Full             bool              `json:"full"`
	PageSize         int               `json:"page_size"`
	Limit            *int              `json:"limit"`
}

func seconds(number float64) time.Duration {
	return time.Duration(number * float64(time.Second))
}

// limited returns the action's context with its timeout.
func (a *action) limited() (context.Context, context.CancelFunc) {
	if a.Timeout == nil {
		return context.WithCancel(a.Context)
	}
	return context.WithTimeout(a.Context, seconds(*a.Timeout))
}

func (r *request) lookupOptions() (options []assetd.ResolveOption) {
	for _, option := range r.lookups() {
		options = append(options, option)
	}
	return options
}

func (r *request) lookups() (options []assetd.LookupOption) {
	if r.Freshness != "" {
		options = append(options, assetd.WithFreshness(r.freshness()))
	}
	if r.StoreTimeout != nil {
		options = append(options, assetd.WithStoreTimeout(seconds(*r.StoreTimeout)))
	}
	return options
}

func (r *request) freshness() assetd.Freshness {
	return assetd.Freshness(assetdv1.Freshness_value["FRESHNESS_"+r.Freshness])
}

func (r *request) fetchOptions(runner *runner) []assetd.FetchOption {
	options := []assetd.FetchOption{
		assetd.WithInclude(r.Include...), assetd.WithExclude(r.Exclude...),
		assetd.WithExpectedDigest(r.ExpectedDigest),
		assetd.WithProgress(func(progress assetd.Progress) {
			runner.write(fields{"id": r.ID, "progress": fields{
				"phase":         word(progress.Phase, "FETCH_PHASE_"),
				"present_bytes": progress.PresentBytes,
				"total_bytes":   known(progress.TotalBytes),
				"attempt":       progress.Attempt,
			}})
		}),
	}
	for _, option := range r.lookups() {
		options = append(options, option)
	}
	if r.ProgressInterval != nil {
		options = append(options, assetd.WithProgressInterval(seconds(*r.ProgressInterval)))
	}
	if r.PartOnly {
		options = append(options, assetd.WithPartOnly())
	}
	if r.Verify {
		options = append(options, assetd.WithVerify())
	}
	if r.ForceDownload {
		options = append(options, assetd.WithForceDownload())
	}
	return options
}

func (r *request) pushOptions(runner *runner) ([]assetd.PushOption, error) {
	bump, err := value(assetdv1.PushHeader_Bump_value, "BUMP_", r.Bump)
	if err != nil {
		return nil, err
	}
	mode, err := value(assetdv1.PushHeader_Mode_value, "MODE_", r.Mode)
	if err != nil {
		return nil, err
	}
	options := []assetd.PushOption{
		assetd.WithBump(assetd.Bump(bump)), assetd.WithMode(assetd.Mode(mode)),
		assetd.WithLabels(r.Labels), assetd.WithPushID(r.PushID), assetd.WithExclude(r.Exclude...),
		assetd.WithPushProgress(func(progress assetd.PushProgress) {
			runner.write(fields{"id": r.ID, "progress": fields{
				"phase":          pushPhases[progress.Phase],
				"received_bytes": progress.SentBytes,
				"stored_bytes":   progress.StoredBytes,
				"total_bytes":    known(progress.TotalBytes),
			}})
		}),
	}
	if r.ValidateOnly {
		options = append(options, assetd.WithValidateOnly())
	}
	return options, nil
}

// pushPhases has the names on the wire: what the helper sends, the daemon receives.
var pushPhases = map[assetd.PushPhase]string{
	assetd.PushHashing:    "HASHING",
	assetd.PushSending:    "RECEIVING",
	assetd.PushStoring:    "STORING",
	assetd.PushCommitting: "COMMITTING",
}

func (r *request) listOptions() ([]assetd.ListOption, error) {
	scope, err := value(assetdv1.ListRequest_Scope_value, "SCOPE_", r.Scope)
	if err != nil {
		return nil, err
	}
	options := []assetd.ListOption{
		assetd.WithScope(assetd.Scope(scope)), assetd.WithPageSize(r.PageSize),
	}
	if r.LatestOnly {
		options = append(options, assetd.WithLatestOnly())
	}
	if r.Full {
		options = append(options, assetd.WithFullView())
	}
	return options, nil
}

func (r *request) listFilesOptions() []assetd.ListFilesOption {
	return []assetd.ListFilesOption{
		assetd.WithInclude(r.Include...), assetd.WithExclude(r.Exclude...),
		assetd.WithPageSize(r.PageSize), assetd.WithFreshness(r.freshness()),
	}
}

// value returns the number of a name as on the wire, without its prefix; 0 for none.
func value(values map[string]int32, prefix, name string) (int32, error) {
	if name == "" {
		return 0, nil
	}
	number, known := values[prefix+name]
	if !known {
		return 0, fmt.Errorf("there is no %s%s", prefix, name)
	}
	return number, nil
}

func word(value fmt.Stringer, prefix string) string {
	return strings.TrimPrefix(value.String(), prefix)
}

// known returns the number, or null where it is not known.
func known(number int64) any {
	if number == assetd.Unknown {
		return nil
	}
	return number
}

func shownAsset(asset *assetd.Asset) fields {
	return fields{
		"name":              asset.Name,
		"version":           asset.Version,
		"kind":              word(asset.Kind, "ASSET_KIND_"),
		"path":              asset.Path,
		"relative_path":     asset.RelativePath,
		"source":            word(asset.Source, "SOURCE_"),
		"resolution":        word(asset.Resolution, "RESOLUTION_"),
		"verification":      word(asset.Verification(), "VERIFICATION_"),
		"size_bytes":        known(asset.SizeBytes()),
		"file_count":        known(int64(asset.FileCount())),
		"transferred_bytes": asset.TransferredBytes,
		"joined":            asset.Joined,
		"reused_bytes":      asset.ReusedBytes(),
		"digest":            asset.Digest(),
	}
}

// codeNames has the names of the codes as they are written everywhere but in Go.
var codeNames = map[codes.Code]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN",
	codes.InvalidArgument: "INVALID_ARGUMENT", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
	codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED",
	codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE", codes.DataLoss: "DATA_LOSS",
	codes.Unauthenticated: "UNAUTHENTICATED",
}

func shownError(err error) fields {
	shown := fields{"reason": "", "code": "UNKNOWN", "message": err.Error(), "metadata": fields{}}
	var failure *assetd.Error
	if errors.As(err, &failure) {
		shown["reason"], shown["code"] = failure.Reason, codeNames[failure.Code]
		shown["message"], shown["metadata"] = failure.Message, metadata(failure)
	}
	switch {
	case errors.Is(err, context.Canceled):
		shown["reason"], shown["code"] = "CANCELLED", "CANCELLED"
	case errors.Is(err, context.DeadlineExceeded):
		shown["reason"] = "DEADLINE_EXCEEDED"
	}
	return shown
}

func metadata(failure *assetd.Error) map[string]string {
	if failure.Metadata == nil {
		return map[string]string{}
	}
	return failure.Metadata
}

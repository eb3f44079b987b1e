package assetd

import (
	"maps"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// Freshness says who decides what an unpinned spec (name, name:1) stands for. A version that
// is named in full and present is a hit in every mode.
type Freshness = assetdv1.Freshness

const (
	// FreshnessStore asks the store, and fails when it does not answer.
	FreshnessStore = assetdv1.Freshness_FRESHNESS_STORE
	// FreshnessStoreOrCache asks the store, and when it does not answer takes the newest
	// cached version: Asset.Resolution is then RESOLUTION_FALLBACK.
	FreshnessStoreOrCache = assetdv1.Freshness_FRESHNESS_STORE_OR_CACHE
	// FreshnessCache never asks the store.
	FreshnessCache = assetdv1.Freshness_FRESHNESS_CACHE
)

// Scope says where a listing looks.
type Scope = assetdv1.ListRequest_Scope

const (
	// ScopeAll asks store and cache, and names in each page what could not be asked.
	ScopeAll = assetdv1.ListRequest_SCOPE_ALL
	// ScopeStore asks the store alone, and fails when it does not answer.
	ScopeStore = assetdv1.ListRequest_SCOPE_STORE
	// ScopeCache asks the cache alone.
	ScopeCache = assetdv1.ListRequest_SCOPE_CACHE
)

// Bump says which number a push raises, where its spec leaves the version open.
type Bump = assetdv1.PushHeader_Bump

const (
	// BumpMinor makes 1.3 follow 1.2. This is what a push does by itself.
	BumpMinor = assetdv1.PushHeader_BUMP_MINOR
	// BumpMajor makes 2.0 follow 1.2.
	BumpMajor = assetdv1.PushHeader_BUMP_MAJOR
)

// Mode says what must be true of an asset before a push.
type Mode = assetdv1.PushHeader_Mode

const (
	// ModeNew demands that the asset does not exist, else ReasonAssetExists.
	ModeNew = assetdv1.PushHeader_MODE_NEW
	// ModeUpdate demands that it exists, else ReasonAssetNotFound.
	ModeUpdate = assetdv1.PushHeader_MODE_UPDATE
)

// FetchOption changes one call of [Client.Fetch].
type FetchOption interface {
	changeFetch(*fetchCall)
}

// ResolveOption changes one call of [Client.Resolve].
type ResolveOption interface {
	changeResolve(*assetdv1.ResolveVersionRequest)
}

// ListOption changes one listing by [Client.List] or [Client.ListPages].
type ListOption interface {
	changeList(*assetdv1.ListRequest)
}

// ListFilesOption changes one listing by [Client.ListFiles] or [Client.ListFilesPages].
type ListFilesOption interface {
	changeListFiles(*assetdv1.ListFilesRequest)
}

// PushOption changes one call of [Client.Push], [Client.PushStaged] or [Client.PushFrom].
type PushOption interface {
	changePush(*pushCall)
}

// LookupOption is for Fetch and Resolve alike.
type LookupOption interface {
	FetchOption
	ResolveOption
}

// FreshnessOption is for all calls that a spec is resolved for.
type FreshnessOption interface {
	LookupOption
	ListFilesOption
}

// IncludeOption is for Fetch and ListFiles alike.
type IncludeOption interface {
	FetchOption
	ListFilesOption
}

// ExcludeOption is for Fetch, ListFiles and Push alike.
type ExcludeOption interface {
	IncludeOption
	PushOption
}

// PageOption is for all listings.
type PageOption interface {
	ListOption
	ListFilesOption
}

// changes is every kind of option; an interface lets through what it has a function for.
type changes struct {
	fetch     func(*fetchCall)
	resolve   func(*assetdv1.ResolveVersionRequest)
	list      func(*assetdv1.ListRequest)
	listFiles func(*assetdv1.ListFilesRequest)
	push      func(*pushCall)
}

func (c changes) changeFetch(call *fetchCall)                           { c.fetch(call) }
func (c changes) changeResolve(request *assetdv1.ResolveVersionRequest) { c.resolve(request) }
func (c changes) changeList(request *assetdv1.ListRequest)              { c.list(request) }
func (c changes) changeListFiles(request *assetdv1.ListFilesRequest)    { c.listFiles(request) }
func (c changes) changePush(call *pushCall)                             { c.push(call) }

// WithFreshness says who decides what an unpinned spec stands for. Without it, the daemon's
// operator does.
func WithFreshness(freshness Freshness) FreshnessOption {
	return changes{
		fetch:     func(call *fetchCall) { call.request.Freshness = freshness },
		resolve:   func(request *assetdv1.ResolveVersionRequest) { request.Freshness = freshness },
		listFiles: func(request *assetdv1.ListFilesRequest) { request.Freshness = freshness },
	}
}

// WithStoreTimeout limits how long the store may take to say what the spec stands for; it is
// no limit for the download. It must be positive. Without it, the daemon's operator decides.
func WithStoreTimeout(timeout time.Duration) LookupOption {
	limit := durationpb.New(timeout)
	return changes{
		fetch:   func(call *fetchCall) { call.request.StoreTimeout = limit },
		resolve: func(request *assetdv1.ResolveVersionRequest) { request.StoreTimeout = limit },
	}
}

// WithProgress has report called whenever the daemon tells how far the download is. Calls
// come from the goroutine of Fetch, one at a time, and end before Fetch returns. A slow
// report delays nobody else: the daemon leaves out what was not read in time. A hit has no
// progress. A daemon whose figures fall within one attempt ends the fetch with ReasonInternal.
func WithProgress(report func(Progress)) FetchOption {
	return changes{fetch: func(call *fetchCall) { call.report = report }}
}

// WithProgressInterval sets how often progress is told: the daemon moves it into 50 ms to
// 5 s. Without it, every 500 ms.
func WithProgressInterval(interval time.Duration) FetchOption {
	return changes{fetch: func(call *fetchCall) {
		call.request.ProgressInterval = durationpb.New(interval)
	}}
}

// WithHold keeps the version from being evicted until Asset.Close, or until this process
// ends. The context of Fetch limits the fetch alone, not the hold.
//
// When the daemon restarts, the hold is taken again without the caller's doing, however long
// that takes. Should the daemon refuse it, Asset.HoldEnded tells.
func WithHold() FetchOption {
	return changes{fetch: func(call *fetchCall) { call.request.Hold = true }}
}

// WithExpectedDigest demands that the whole version has this digest, as [Digest] computes it:
// another one fails with ReasonDigestMismatch, and nothing is published.
func WithExpectedDigest(digest string) FetchOption {
	return changes{fetch: func(call *fetchCall) { call.request.ExpectedDigest = digest }}
}

// WithForceDownload downloads the version even if it is present. What stands there stays
// until the new copy is verified.
func WithForceDownload() FetchOption {
	return changes{fetch: func(call *fetchCall) { call.request.ForceDownload = true }}
}

// WithVerify hashes every file and compares it with its manifest, also on a hit.
func WithVerify() FetchOption {
	return changes{fetch: func(call *fetchCall) { call.request.Verify = true }}
}

// WithPartOnly fetches nothing but the part that the spec names. The path is then that of a
// partial version, apart from the whole one. It goes with neither WithInclude nor WithExclude.
func WithPartOnly() FetchOption {
	return changes{fetch: func(call *fetchCall) { call.request.PartOnly = true }}
}

// WithInclude wants only the files that one of the globs matches: * stops at /, ** does not.
// The path of a fetch is then that of a partial version, apart from the whole one. Given
// twice, the globs add up.
func WithInclude(globs ...string) IncludeOption {
	return changes{
		fetch: func(call *fetchCall) {
			call.request.Include = append(call.request.Include, globs...)
		},
		listFiles: func(request *assetdv1.ListFilesRequest) {
			request.Include = append(request.Include, globs...)
		},
	}
}

// WithExclude leaves out the files that one of the globs matches, also those that WithInclude
// wants. Given twice, the globs add up.
//
// What a push leaves out is not looked at, whatever it is; nor is a folder of which
// "folder/**" leaves nothing.
func WithExclude(globs ...string) ExcludeOption {
	return changes{
		fetch: func(call *fetchCall) {
			call.request.Exclude = append(call.request.Exclude, globs...)
		},
		listFiles: func(request *assetdv1.ListFilesRequest) {
			request.Exclude = append(request.Exclude, globs...)
		},
		push: func(call *pushCall) { call.exclude = append(call.exclude, globs...) },
	}
}

// WithScope says where to look. Without it, as with ScopeAll.
func WithScope(scope Scope) ListOption {
	return changes{list: func(request *assetdv1.ListRequest) { request.Scope = scope }}
}

// WithLatestOnly lists only the newest version of each asset.
func WithLatestOnly() ListOption {
	return changes{list: func(request *assetdv1.ListRequest) { request.LatestOnly = true }}
}

// WithFullView tells size, digest, date and labels of each version too, which reads one
// manifest a version: slower by far.
func WithFullView() ListOption {
	return changes{list: func(request *assetdv1.ListRequest) {
		request.View = assetdv1.ListRequest_VIEW_FULL
	}}
}

// WithPageSize sets how many entries one answer of the daemon has at most: up to 1,000.
// Without it, 100.
func WithPageSize(entries int) PageOption {
	size := int32(min(max(entries, -1), 1<<30))
	return changes{
		list:      func(request *assetdv1.ListRequest) { request.PageSize = size },
		listFiles: func(request *assetdv1.ListFilesRequest) { request.PageSize = size },
	}
}

// WithBump says which number to raise, for a spec without a version.
func WithBump(bump Bump) PushOption {
	return changes{push: func(call *pushCall) { call.header.Bump = bump }}
}

// WithMode says what must be true of the asset beforehand. Without it: nothing.
func WithMode(mode Mode) PushOption {
	return changes{push: func(call *pushCall) { call.header.Mode = mode }}
}

// WithLabels keeps free keys and values with the version, for ever. Given twice, they add up.
func WithLabels(labels map[string]string) PushOption {
	return changes{push: func(call *pushCall) {
		if call.header.Labels == nil {
			call.header.Labels = make(map[string]string)
		}
		maps.Copy(call.header.Labels, labels)
	}}
}

// WithPushID names the push by a UUID4 in its canonical form. Another push with the same one,
// after whatever failure, continues this one or returns its answer. Without it, a new one.
func WithPushID(id string) PushOption {
	return changes{push: func(call *pushCall) { call.header.PushId = id }}
}

// WithValidateOnly checks all that can be checked, and creates nothing: what is returned is
// the version that would be created, and whether it is there already.
func WithValidateOnly() PushOption {
	return changes{push: func(call *pushCall) { call.header.ValidateOnly = true }}
}

// WithPushProgress has report called with how far the push is, hashing included. Calls come
// from the goroutine of Push, one at a time, and end before Push returns.
func WithPushProgress(report func(PushProgress)) PushOption {
	return changes{push: func(call *pushCall) { call.meter.report = report }}
}

package assetd

import (
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

// FetchOption changes one call of [Client.Fetch].
type FetchOption interface {
	changeFetch(*fetchCall)
}

// ResolveOption changes one call of [Client.Resolve].
type ResolveOption interface {
	changeResolve(*assetdv1.ResolveVersionRequest)
}

// LookupOption changes how a spec is resolved, by Fetch and Resolve alike.
type LookupOption interface {
	FetchOption
	ResolveOption
}

// WithFreshness says who decides what an unpinned spec stands for. Without it, the daemon's
// operator does.
func WithFreshness(freshness Freshness) LookupOption {
	return withFreshness(freshness)
}

// WithStoreTimeout limits how long the store may take to say what the spec stands for; it is
// no limit for the download. It must be positive. Without it, the daemon's operator decides.
func WithStoreTimeout(timeout time.Duration) LookupOption {
	return withStoreTimeout(timeout)
}

// WithProgress has report called whenever the daemon tells how far the download is. Calls
// come from the goroutine of Fetch, one at a time, and end before Fetch returns. A slow
// report delays nobody else: the daemon leaves out what was not read in time. A hit has no
// progress.
func WithProgress(report func(Progress)) FetchOption {
	return fetchOption(func(call *fetchCall) { call.report = report })
}

// WithProgressInterval sets how often progress is told: the daemon moves it into 50 ms to
// 5 s. Without it, every 500 ms.
func WithProgressInterval(interval time.Duration) FetchOption {
	return fetchOption(func(call *fetchCall) {
		call.request.ProgressInterval = durationpb.New(interval)
	})
}

// WithHold keeps the version from being evicted until Asset.Close, or until this process
// ends. The context of Fetch limits the fetch alone, not the hold.
//
// When the daemon restarts, the hold is taken again without the caller's doing, however long
// that takes. Should the daemon refuse it, Asset.HoldEnded tells.
func WithHold() FetchOption {
	return fetchOption(func(call *fetchCall) { call.request.Hold = true })
}

// WithExpectedDigest demands that the whole version has this digest, as [Digest] computes it:
// another one fails with ReasonDigestMismatch, and nothing is published.
func WithExpectedDigest(digest string) FetchOption {
	return fetchOption(func(call *fetchCall) { call.request.ExpectedDigest = digest })
}

// WithForceDownload downloads the version even if it is present. What stands there stays
// until the new copy is verified.
func WithForceDownload() FetchOption {
	return fetchOption(func(call *fetchCall) { call.request.ForceDownload = true })
}

type fetchOption func(*fetchCall)

func (option fetchOption) changeFetch(call *fetchCall) {
	option(call)
}

type withFreshness Freshness

func (freshness withFreshness) changeFetch(call *fetchCall) {
	call.request.Freshness = Freshness(freshness)
}

func (freshness withFreshness) changeResolve(request *assetdv1.ResolveVersionRequest) {
	request.Freshness = Freshness(freshness)
}

type withStoreTimeout time.Duration

func (timeout withStoreTimeout) changeFetch(call *fetchCall) {
	call.request.StoreTimeout = durationpb.New(time.Duration(timeout))
}

func (timeout withStoreTimeout) changeResolve(request *assetdv1.ResolveVersionRequest) {
	request.StoreTimeout = durationpb.New(time.Duration(timeout))
}

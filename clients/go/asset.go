package assetd

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// Asset is a version that is present on this node: whole, verified, durable. Its files are for
// reading only, and other processes read them too. Not to be copied.
type Asset struct {
	// Path is where the version is, or the part that the spec names: as the daemon sees it, or
	// where that is not visible here, below the client's own ASSETS_DIR.
	Path string
	// RelativePath is the same relative to ASSETS_DIR, for programs that mount it elsewhere.
	RelativePath string
	// Name is the asset's name, and Version the version in full, such as 1.2.
	Name    string
	Version string
	// Kind tells whether the version is a file or a directory.
	Kind assetdv1.AssetKind
	// Resolution is how the version was found.
	Resolution assetdv1.Resolution
	// Source is where the bytes that were missing came from; SOURCE_CACHE on a hit.
	Source assetdv1.Source
	// TransferredBytes is what the fetch took from the source; 0 on a hit.
	TransferredBytes int64
	// Joined tells that it shared the download of a caller who had come before.
	Joined bool
	// Elapsed is how long the daemon took; 0 without a call.
	Elapsed time.Duration

	// What a hit without a call did not need is read from this marker when it is asked for.
	marker string
	read   sync.Once
	facts  facts
	hold   holding
}

// facts are what a daemon answers, or its receipt says.
type facts struct {
	digest       string
	sizeBytes    int64
	fileCount    int
	verification assetdv1.Verification
	reusedBytes  int64
}

var unknownFacts = facts{sizeBytes: Unknown, fileCount: Unknown}

func (a *Asset) known() *facts {
	a.read.Do(func() {
		if a.marker != "" {
			a.facts = readReceipt(a.marker)
		}
	})
	return &a.facts
}

// Digest returns the version's identity, "sha256:" and 64 hex digits; empty when it is not
// known, as when modelkit pushed the version.
//
// Like SizeBytes, FileCount, Verification and ReusedBytes it reads the daemon's receipt below
// ASSETS_DIR if the version was found without a call, the first time one of them is asked;
// should the version have been evicted by then, nothing is known.
func (a *Asset) Digest() string {
	return a.known().digest
}

// SizeBytes returns the sizes of all files of the version added up, or Unknown.
func (a *Asset) SizeBytes() int64 {
	return a.known().sizeBytes
}

// FileCount returns how many files the version holds, or Unknown.
func (a *Asset) FileCount() int {
	return a.known().fileCount
}

// Verification returns what the files were compared with before they were shown.
func (a *Asset) Verification() assetdv1.Verification {
	return a.known().verification
}

// ReusedBytes returns how many of the version's bytes were here already.
func (a *Asset) ReusedBytes() int64 {
	return a.known().reusedBytes
}

// Close ends the hold, if there is one. It returns why the hold was lost, if it was lost
// before. It is harmless to call it twice.
func (a *Asset) Close() error {
	if a.hold == nil {
		return nil
	}
	return a.hold.release()
}

// HoldEnded is closed when the version is no longer held: by Close, by Client.Close, or
// because the daemon refused to hold it again after a restart; Close then returns why.
// It is nil where there was no hold.
func (a *Asset) HoldEnded() <-chan struct{} {
	if a.hold == nil {
		return nil
	}
	return a.hold.done()
}

// IsHeld tells whether the cache must keep the version for this process right now. It is also
// true while a daemon that went away is waited for: its successor evicts nothing before the
// holders had time to come back.
func (a *Asset) IsHeld() bool {
	if a.hold == nil {
		return false
	}
	select {
	case <-a.hold.done():
		return false
	default:
		return true
	}
}

func (f *fetchCall) asset(completed *assetdv1.FetchCompleted) *Asset {
	version := completed.GetAssetVersion()
	sizeBytes, fileCount := extent(version)
	return &Asset{
		Path:             f.client.visible(completed),
		RelativePath:     completed.GetRelativePath(),
		Name:             version.GetName(),
		Version:          version.GetVersion(),
		Kind:             version.GetKind(),
		Resolution:       f.started.GetResolution(),
		Source:           completed.GetSource(),
		TransferredBytes: completed.GetTransferredBytes(),
		Joined:           f.started.GetJoined(),
		Elapsed:          completed.GetElapsed().AsDuration(),
		facts: facts{
			digest:       version.GetDigest(),
			sizeBytes:    sizeBytes,
			fileCount:    fileCount,
			verification: completed.GetVerification(),
			reusedBytes:  completed.GetReusedBytes(),
		},
	}
}

// extent returns the size of a version and how many files it holds; Unknown where the daemon
// does not say.
func extent(version *assetdv1.AssetVersion) (sizeBytes int64, fileCount int) {
	sizeBytes, fileCount = Unknown, Unknown
	if version != nil && version.SizeBytes != nil {
		sizeBytes = version.GetSizeBytes()
	}
	if version != nil && version.FileCount != nil {
		fileCount = int(version.GetFileCount())
	}
	return sizeBytes, fileCount
}

// visible returns the daemon's path, or that below our own ASSETS_DIR, where only that exists.
func (c *Client) visible(completed *assetdv1.FetchCompleted) string {
	path := completed.GetPath()
	if c.assetsDir == "" || exists(path) {
		return path
	}
	if here := filepath.Join(c.assetsDir, completed.GetRelativePath()); exists(here) {
		return here
	}
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

package assetd

import "github.com/assetd/assetd/clients/go/assetdv1"

// Asset is a version that is present on this node. Its files are for reading only, and other
// processes read them too.
type Asset struct {
	// Path is where the version is, or the part that the spec names, as the daemon sees it.
	Path string
	// RelativePath is the same relative to ASSETS_DIR, for programs that mount it elsewhere.
	RelativePath string
	// AssetVersion is what is known of the version: its name, version, kind, size and digest.
	AssetVersion *assetdv1.AssetVersion
	// Resolution is how the version was found.
	Resolution assetdv1.Resolution
	// Source is where the bytes that were missing came from; SOURCE_CACHE on a hit.
	Source assetdv1.Source
	// Verification is what the files were compared with before they were shown.
	Verification assetdv1.Verification
	// TransferredBytes is what the fetch took from the source; 0 on a hit.
	TransferredBytes int64

	hold *hold
}

// Close ends the hold, if there is one. It returns why the hold was lost, if it was lost
// before. It is harmless to call it twice.
func (a *Asset) Close() error {
	if a.hold == nil {
		return nil
	}
	a.hold.release()
	<-a.hold.ended
	return a.hold.lost
}

// HoldEnded is closed when the version is no longer held: by Close, by Client.Close, or
// because the daemon refused to hold it again after a restart; Close then returns why.
// It is nil where there was no hold.
func (a *Asset) HoldEnded() <-chan struct{} {
	if a.hold == nil {
		return nil
	}
	return a.hold.ended
}

func (f *fetchCall) asset(completed *assetdv1.FetchCompleted) *Asset {
	return &Asset{
		Path:             completed.GetPath(),
		RelativePath:     completed.GetRelativePath(),
		AssetVersion:     completed.GetAssetVersion(),
		Resolution:       f.started.GetResolution(),
		Source:           completed.GetSource(),
		Verification:     completed.GetVerification(),
		TransferredBytes: completed.GetTransferredBytes(),
	}
}

//go:build linux || darwin

package assetd

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// A marker is touched by its mtime's age, so that a thousand readers write once a minute, not
// a thousand times. The daemon looks at changes of the mtime, never at its value: clocks jump.
const touchInterval = time.Minute

// fastPath looks for versions below one ASSETS_DIR. Safe for concurrent use; nothing waits.
type fastPath struct {
	prefix string
	// Leases end with it.
	life context.Context
	now  func() time.Time
	// When this process was last refused to touch a marker, in Unix nanoseconds; 0: never.
	deniedAt atomic.Int64
}

func newFastPath(assetsDir string, life context.Context) *fastPath {
	prefix := strings.TrimRight(assetsDir, "/") + "/"
	return &fastPath{prefix: prefix, life: life, now: time.Now}
}

// hit returns the asset if the spec pins a version that stands here, complete; else nil.
//
// With hold it is leased: neither evicted nor replaced until the asset is closed. Folders on
// the way to the version may be links, as the operator likes; the version and what is in it
// may not.
func (f *fastPath) hit(spec string, hold bool) *Asset {
	pin, ok := parsePin(spec)
	if !ok {
		return nil
	}
	path := f.prefix + pin.name + "/" + pin.version
	if !hold {
		return f.standing(pin, path)
	}
	lease := openLease(path)
	if lease == nil {
		return nil
	}
	asset := f.standing(pin, path)
	if asset == nil || !lease.begin(path, f.life) {
		lease.end()
		return nil
	}
	asset.hold = lease
	return asset
}

// standing returns what the spec names; nil where it is no hit. The marker is looked at after
// the version: an eviction takes it away first, or both at once.
func (f *fastPath) standing(pin pin, path string) *Asset {
	found, kind, ok := walk(path, pin.part)
	if !ok {
		return nil
	}
	marker := path + "/" + markerName
	if kind == assetdv1.AssetKind_ASSET_KIND_FILE {
		marker = f.prefix + pin.name + "/." + pin.version + markerName
	}
	var marked unix.Stat_t
	if unix.Lstat(marker, &marked) != nil || !isRegular(&marked) {
		return nil
	}
	f.leaveTrace(marker, &marked)
	return &Asset{
		Path:         found,
		RelativePath: found[len(f.prefix):],
		Name:         pin.name,
		Version:      pin.version,
		Kind:         kind,
		Resolution:   assetdv1.Resolution_RESOLUTION_EXACT,
		Source:       assetdv1.Source_SOURCE_CACHE,
		marker:       marker,
	}
}

// walk goes from the version down to the part, through folders and no links, and returns where
// that is and of which kind the version is.
func walk(path, part string) (found string, kind assetdv1.AssetKind, ok bool) {
	var status unix.Stat_t
	if unix.Lstat(path, &status) != nil {
		// Absent, half gone, not ours to look at: the daemon knows more.
		return "", 0, false
	}
	kind = assetdv1.AssetKind_ASSET_KIND_FILE
	if isFolder(&status) {
		kind = assetdv1.AssetKind_ASSET_KIND_DIRECTORY
	}
	for segment := ""; part != ""; {
		segment, part, _ = strings.Cut(part, "/")
		path += "/" + segment
		if !isFolder(&status) || unix.Lstat(path, &status) != nil {
			return "", 0, false
		}
	}
	return path, kind, isFolder(&status) || isRegular(&status)
}

func isFolder(status *unix.Stat_t) bool {
	return status.Mode&unix.S_IFMT == unix.S_IFDIR
}

func isRegular(status *unix.Stat_t) bool {
	return status.Mode&unix.S_IFMT == unix.S_IFREG
}

// leaveTrace touches the marker for the evictor, where this process may.
func (f *fastPath) leaveTrace(marker string, marked *unix.Stat_t) {
	now := f.now()
	age := now.Sub(time.Unix(marked.Mtim.Unix()))
	if 0 <= age && age < touchInterval {
		return
	}
	if denied := f.deniedAt.Load(); denied != 0 {
		if since := now.Sub(time.Unix(0, denied)); 0 <= since && since < touchInterval {
			return
		}
	}
	switch unix.UtimesNanoAt(unix.AT_FDCWD, marker, nil, unix.AT_SYMLINK_NOFOLLOW) {
	case unix.EACCES, unix.EPERM, unix.EROFS:
		f.deniedAt.Store(now.UnixNano())
	}
}

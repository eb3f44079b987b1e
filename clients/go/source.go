package assetd

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	readBytes = 1 << 20
	// The store's limit for a key: a path beyond it is refused anyway, and it bounds the
	// recursion.
	maxPathBytes = 1024
)

// sourceFile is one file to push. Its path is inside the asset, and empty for a file asset.
type sourceFile struct {
	path      string
	sizeBytes int64
	state     fileState
}

// fileState is by what a file is known to be the same and unchanged.
type fileState struct {
	device, inode     uint64
	sizeBytes         int64
	modified, changed int64
}

// source is a file or a folder as it was when it was listed, in bytewise order of the paths.
type source struct {
	root     string
	isFolder bool
	files    []sourceFile
	exclude  globs
}

func (s *source) totalBytes() (total int64) {
	for _, file := range s.files {
		total += file.sizeBytes
	}
	return total
}

// checkUnchanged lists again and compares names, inodes, sizes and times. It fails with
// ReasonSourceChanged.
func (s *source) checkUnchanged() error {
	now, err := listSource(s.root, s.exclude)
	if err != nil {
		return changed(s.root, "")
	}
	if s.isFolder != now.isFolder || !slices.Equal(s.files, now.files) {
		return changed(s.root, firstDifference(s.files, now.files))
	}
	return nil
}

// withoutSlashes returns the path without the slashes at its end, which would have a link
// followed.
func withoutSlashes(path string) string {
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" || path == "" {
		return trimmed
	}
	return "/"
}

func firstDifference(before, now []sourceFile) string {
	for position, file := range before {
		if position >= len(now) {
			return file.path
		}
		if file != now[position] {
			return min(file.path, now[position].path)
		}
	}
	if len(now) > len(before) {
		return now[len(before)].path
	}
	return ""
}

// shown returns the path for a message, which a name that is not UTF-8 must not break.
func shown(root, path string) string {
	joined := filepath.Join(root, path)
	if utf8.ValidString(joined) {
		return joined
	}
	return strings.Trim(strconv.Quote(joined), `"`)
}

func changed(root, path string) *Error {
	shown := shown(root, path)
	return ownError(ReasonSourceChanged, shown+" changed while it was being pushed: push again "+
		"once nobody writes to it", "path", shown)
}

func invalid(root, path, why string) *Error {
	shown := shown(root, path)
	return ownError(ReasonInvalidPart, shown+" "+why+", which no asset can hold", "path", shown)
}

func notAFolder(root string) *Error {
	return ownError(ReasonInvalidField, shown(root, "")+" is a file: exclude is for folders",
		"field", "exclude")
}

func unsupported(root, path, kind string) *Error {
	shown := shown(root, path)
	return ownError(ReasonUnsupportedFile, shown+" is "+kind+": a push takes plain files and "+
		"folders; put a copy in its place", "path", shown, "kind", kind)
}

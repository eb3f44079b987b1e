//go:build !linux && !darwin

package assetd

import "runtime"

// listSource refuses: files that cannot be opened without following links are not pushed.
func listSource(root string, _ globs) (*source, error) {
	return nil, ownError(ReasonNotBuilt, "files are not pushed from "+runtime.GOOS+
		": put "+root+" where the daemon finds it, and use PushStaged or PushFrom",
		"system", runtime.GOOS)
}

func (s *source) read(sourceFile, int64, func() []byte, func([]byte) error) error {
	return changed(s.root, "")
}

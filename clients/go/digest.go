package assetd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	digestPrefix = "sha256:"
	// markerName marks a directory version as complete. It lies in the folder, but is no file
	// of the version, and no file of a version may have its name.
	markerName = ".SUCCESS"
)

// Digest reads the file or folder at path and returns its digest, "sha256:" and 64 hex
// digits, as it stands in AssetVersion.digest: of a file, the SHA-256 of its bytes; of a
// folder, the SHA-256 of what sha256sum prints for its files in bytewise order of their
// paths. The marker .SUCCESS of a fetched version does not count.
//
// It fails when ctx ends, when something cannot be read, and when the folder holds anything
// but files and folders.
func Digest(ctx context.Context, path string) (string, error) {
	information, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	sha256OfPath := sha256OfFile
	if information.IsDir() {
		sha256OfPath = sha256OfFolder
	}
	sum, err := sha256OfPath(ctx, path)
	if err != nil {
		return "", err
	}
	return digestPrefix + sum, nil
}

func sha256OfFolder(ctx context.Context, folder string) (string, error) {
	sums, err := sha256OfFiles(ctx, folder)
	if err != nil {
		return "", err
	}
	listing := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(listing, "%s  %s\n", sums[path], path)
	}
	return hexSum(listing), nil
}

// sha256OfFiles returns the hashes of all files below folder by their paths in it.
func sha256OfFiles(ctx context.Context, folder string) (map[string]string, error) {
	sums := make(map[string]string)
	err := fs.WalkDir(os.DirFS(folder), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path == markerName {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("assetd: %s is neither a file nor a folder", filepath.Join(folder, path))
		}
		sums[path], err = sha256OfFile(ctx, filepath.Join(folder, path))
		return err
	})
	return sums, err
}

func sha256OfFile(ctx context.Context, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, endingReader{ctx, file}); err != nil {
		return "", err
	}
	return hexSum(sum), nil
}

func hexSum(sum hash.Hash) string {
	return hex.EncodeToString(sum.Sum(nil))
}

// endingReader is a reader that fails once the context has ended.
type endingReader struct {
	ctx context.Context
	io.Reader
}

func (r endingReader) Read(buffer []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(buffer)
}

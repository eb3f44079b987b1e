package assetd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The digests of "hello\n" and of no bytes, as sha256sum prints them.
const (
	helloSum = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDigestOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.2")
	write(t, path, "hello\n")
	if got, err := Digest(t.Context(), path); err != nil || got != "sha256:"+helloSum {
		t.Errorf("got %q and %v", got, err)
	}
}

// "a-b" sorts before "a/c" by bytes, but folder by folder it would come after it; the marker
// of the folder does not count, and dotfiles do.
func TestDigestOfAFolder(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, ".SUCCESS"), "{}")
	write(t, filepath.Join(folder, ".gitattributes"), "")
	write(t, filepath.Join(folder, "a", "c"), "hello\n")
	write(t, filepath.Join(folder, "a-b"), "")
	write(t, filepath.Join(folder, "é"), "hello\n")
	listing := strings.Join([]string{
		emptySum + "  .gitattributes\n",
		emptySum + "  a-b\n",
		helloSum + "  a/c\n",
		helloSum + "  é\n",
	}, "")

	got, err := Digest(t.Context(), folder)

	if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(listing))); err != nil || got != want {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
}

func TestDigestRefusesWhatIsNoFile(t *testing.T) {
	folder := t.TempDir()
	if err := os.Symlink("/etc/hostname", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	if got, err := Digest(t.Context(), folder); err == nil || !strings.Contains(err.Error(), "link") {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestDigestOfNothing(t *testing.T) {
	got, err := Digest(t.Context(), filepath.Join(t.TempDir(), "absent"))
	if got != "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestDigestEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.2")
	write(t, path, "hello\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Digest(ctx, path); got != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %q and %v", got, err)
	}
}

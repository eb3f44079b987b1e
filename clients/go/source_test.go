//go:build linux || darwin

package assetd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is no plain file is refused, and never opened: a FIFO would hang whoever does.
func TestWhatIsNoPlainFileIsNotPushed(t *testing.T) {
	for kind, put := range map[string]func(t *testing.T, path string) error{
		"a symlink": func(_ *testing.T, path string) error { return os.Symlink("/etc/hostname", path) },
		"a hard link": func(t *testing.T, path string) error {
			other := filepath.Join(t.TempDir(), "original")
			write(t, other, "")
			return os.Link(other, path)
		},
		"a FIFO": func(_ *testing.T, path string) error { return syscall.Mkfifo(path, 0o644) },
		"a socket": func(t *testing.T, path string) error {
			listener, err := net.Listen("unix", path)
			if err == nil {
				t.Cleanup(func() { listener.Close() })
			}
			return err
		},
	} {
		t.Run(kind, func(t *testing.T) {
			folder, err := os.MkdirTemp("", "assetd-go-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(folder) })
			write(t, filepath.Join(folder, "a"), "")
			path := filepath.Join(folder, "odd")
			if err := put(t, path); err != nil {
				t.Fatal(err)
			}
			for _, root := range []string{folder, path} {
				_, err := listSource(root, nil)
				var failure *Error
				if !errors.Is(err, ReasonUnsupportedFile) || !errors.As(err, &failure) ||
					failure.Metadata["path"] != path || failure.Metadata["kind"] != kind {
					t.Errorf("%s: got %v", root, err)
				}
			}
		})
	}
}

func TestALinkToAFolderIsNotPushed(t *testing.T) {
	root := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(model(t), root); err != nil {
		t.Fatal(err)
	}
	if _, err := listSource(root, nil); !errors.Is(err, ReasonUnsupportedFile) {
		t.Errorf("got %v", err)
	}
}

// A slash at the end of a path has the system follow a link; a push does not.
func TestASlashChangesNothing(t *testing.T) {
	for path, want := range map[string]string{
		"link/": "link", "/a/link//": "/a/link", "a": "a", "/": "/", "//": "/", "": "",
	} {
		if got := withoutSlashes(path); got != want {
			t.Errorf("%q: got %q", path, got)
		}
	}
	client := alone(t, t.TempDir())
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(model(t), link); err != nil {
		t.Fatal(err)
	}
	_, err := client.Push(t.Context(), link+"/", "nlp/ranker")
	var failure *Error
	if !errors.Is(err, ReasonUnsupportedFile) || !errors.As(err, &failure) ||
		failure.Metadata["path"] != link {
		t.Errorf("got %v", err)
	}
}

func TestWhatNoAssetCanHoldIsNotPushed(t *testing.T) {
	for words, put := range map[string]func(root string) error{
		"is an empty folder":             func(root string) error { return os.Mkdir(filepath.Join(root, "empty"), 0o755) },
		`caf\xe9 has a name that is not`: func(root string) error { return os.WriteFile(filepath.Join(root, "caf\xe9"), nil, 0o644) },
		"more than 1024 bytes": func(root string) error {
			folder := filepath.Join(root, strings.Repeat("d/", 10)+strings.Repeat(strings.Repeat("e", 250)+"/", 5))
			return errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, "x"), nil, 0o644))
		},
	} {
		root := model(t)
		if err := put(root); err != nil {
			t.Fatal(err)
		}
		if _, err := listSource(root, nil); !errors.Is(err, ReasonInvalidPart) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v", words, err)
		}
	}
}

// The digest is the one that the exported function computes of what a fetch brings.
func TestHashingTellsHowFarItIs(t *testing.T) {
	root := model(t)
	write(t, filepath.Join(root, "sub-x"), "1")
	write(t, filepath.Join(root, "sub", "é"), strings.Repeat("x", 3*readBytes+1))
	source, err := listSource(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	var told int64
	digests, err := hashSource(t.Context(), source, func(bytes int64) {
		if bytes < told {
			t.Errorf("it fell from %d to %d", told, bytes)
		}
		told = bytes
	})
	if err != nil || told != source.totalBytes() {
		t.Errorf("told %d, got %v", told, err)
	}
	if want, err := Digest(t.Context(), root); err != nil || digests.digest != want {
		t.Errorf("got %s, want %s, %v", digests.digest, want, err)
	}
}

func TestHashingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	source, err := listSource(model(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hashSource(ctx, source, func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Nobody waits for the hashes of what is not pushed any more, such as of a file that takes
// minutes to read.
func TestClosingTheClientEndsAPushThatHashes(t *testing.T) {
	endless := filepath.Join(t.TempDir(), "weights")
	write(t, endless, "")
	if err := os.Truncate(endless, 1<<40); err != nil {
		t.Fatal(err)
	}
	client := alone(t, t.TempDir())
	_, err := client.Push(t.Context(), endless, "nlp/ranker", WithPushProgress(func(PushProgress) {
		client.Close()
	}))
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the client was closed") {
		t.Errorf("got %v", err)
	}

	client = alone(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = client.Push(ctx, endless, "nlp/ranker")
	var failure *Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failure) {
		t.Errorf("got %v", err)
	}
}

// A folder that became a link between look and open must not lead elsewhere.
func TestNoLinkIsFollowedWhenAFileIsRead(t *testing.T) {
	root := model(t)
	source, err := listSource(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "sub")
	if err := errors.Join(os.Rename(filepath.Join(root, "sub"), moved), os.Symlink(moved, filepath.Join(root, "sub"))); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	err = source.read(source.files[1], 0, func() []byte { return buffer }, func([]byte) error {
		t.Error("it was read")
		return nil
	})
	if !errors.Is(err, ReasonSourceChanged) {
		t.Errorf("got %v", err)
	}
}

// The end of the context, a source that changed, and a disk that fails are three things.
func TestHowHashingEndsAPush(t *testing.T) {
	client := alone(t, t.TempDir())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Push(cancelled, model(t), "nlp/ranker"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, test := range []struct{ failure, want error }{
		{localFailure{os.ErrPermission}, os.ErrPermission}, {changed("a", "b"), ReasonSourceChanged},
	} {
		if err := client.hashingFailed(t.Context(), test.failure); !errors.Is(err, test.want) {
			t.Errorf("got %v", err)
		}
	}
}

// A file that goes, or is cut short, between look and read is not what was listed.
func TestHashingNoticesAChange(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"gone": os.Remove, "shorter": func(path string) error { return os.Truncate(path, 1) },
	} {
		root := model(t)
		source, err := listSource(root, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(filepath.Join(root, "a")); err != nil {
			t.Fatal(err)
		}
		if _, err := hashSource(t.Context(), source, func(int64) {}); !errors.Is(err, ReasonSourceChanged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPhasesHaveNames(t *testing.T) {
	if PushHashing.String() != "HASHING" || PushCommitting.String() != "COMMITTING" ||
		PushPhase(-1).String() != "UNKNOWN" || pushPhases.String() != "UNKNOWN" {
		t.Error("a phase has another name")
	}
}

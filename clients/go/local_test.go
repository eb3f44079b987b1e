//go:build linux || darwin

package assetd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

const (
	aReceipt = `{"format":1,"kind":"directory","size":7,"digest":"sha256:ab",` +
		`"files":{"a":{},"b/c":{}},"verification":"checksum"}`
	aDate = "2026-01-31T18-30-00Z"
)

// assetsDir makes an ASSETS_DIR with a directory and a file, as the daemon leaves them.
func assetsDir(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	putDirectory(t, root, "nlp/ranker", "1.2", aReceipt)
	putFile(t, root, "nlp/weights", aDate, aReceipt)
	return root
}

func putDirectory(t testing.TB, root, name, version, marker string) {
	path := filepath.Join(root, name, version)
	put(t, filepath.Join(path, "a"), "aaa")
	put(t, filepath.Join(path, "b", "c"), "cccc")
	put(t, filepath.Join(path, ".SUCCESS"), marker)
}

func putFile(t testing.TB, root, name, version, marker string) {
	put(t, filepath.Join(root, name, version), "weights")
	put(t, filepath.Join(root, name, "."+version+".SUCCESS"), marker)
}

func put(t testing.TB, path, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err = errors.Join(err, os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// alone returns a client whose daemon is down.
func alone(t testing.TB, root string) *Client {
	t.Helper()
	client, err := New("unix:///nowhere/assetd.sock", impatient, WithAssetsDir(root))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// isLocked tells whether an evictor would find a lease.
func isLocked(t *testing.T, path string) bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

func heldIf(hold bool) []FetchOption {
	if hold {
		return []FetchOption{WithHold()}
	}
	return nil
}

func TestAPinnedVersionThatStandsIsFound(t *testing.T) {
	root := assetsDir(t)
	client := alone(t, root)
	for _, test := range []struct{ spec, relative string }{
		{"nlp/ranker:1.2", "nlp/ranker/1.2"},
		{"nlp/ranker:1.2[a]", "nlp/ranker/1.2/a"},
		{"nlp/ranker:1.2[/b/c]", "nlp/ranker/1.2/b/c"},
		{"nlp/ranker:1.2[b]", "nlp/ranker/1.2/b"},
		{"nlp/weights:" + aDate, "nlp/weights/" + aDate},
	} {
		for _, hold := range []bool{false, true} {
			asset, err := client.Fetch(t.Context(), test.spec, heldIf(hold)...)
			if err != nil {
				t.Fatalf("%s: %v", test.spec, err)
			}
			kind := assetdv1.AssetKind_ASSET_KIND_DIRECTORY
			if strings.Contains(test.spec, "weights") {
				kind = assetdv1.AssetKind_ASSET_KIND_FILE
			}
			if asset.Path != filepath.Join(root, test.relative) || asset.RelativePath != test.relative ||
				asset.Name+":"+asset.Version != strings.Split(test.spec, "[")[0] || asset.Kind != kind ||
				asset.Source != assetdv1.Source_SOURCE_CACHE || asset.IsHeld() != hold ||
				asset.Resolution != assetdv1.Resolution_RESOLUTION_EXACT {
				t.Errorf("%s: got %+v", test.spec, asset)
			}
			if err := asset.Close(); err != nil || asset.IsHeld() {
				t.Errorf("it is still held, %v", err)
			}
		}
	}
}

// From the daemon's receipt, so that it is as honest as an answer; or not at all.
func TestWhatAHitDidNotNeedIsReadWhenAskedFor(t *testing.T) {
	root := assetsDir(t)
	client := alone(t, root)
	asset, err := client.Fetch(t.Context(), "nlp/ranker:1.2")
	if err != nil {
		t.Fatal(err)
	}
	if asset.Digest() != "sha256:ab" || asset.SizeBytes() != 7 || asset.FileCount() != 2 ||
		asset.ReusedBytes() != 7 ||
		asset.Verification() != assetdv1.Verification_VERIFICATION_CHECKSUM {
		t.Errorf("got %+v", asset.facts)
	}
	for _, marker := range []string{
		"", "moths", "[]", "{}", `{"format":2,"size":1,"files":{},"verification":"size"}`,
		`{"format":1,"digest":"","size":Infinity,"files":{},"verification":"size"}`,
		`{"format":1,"digest":"","size":1,"files":{},"verification":"later"}`, strings.Repeat("[", 100_000),
	} {
		put(t, filepath.Join(root, "nlp/ranker/1.2/.SUCCESS"), marker)
		asset, err := client.Fetch(t.Context(), "nlp/ranker:1.2")
		if err != nil || *asset.known() != unknownFacts {
			t.Errorf("%.9s: got %+v and %v", marker, asset, err)
		}
	}
}

// After the marker is gone the very next fetch misses, and hits once it is back.
func TestNothingIsRemembered(t *testing.T) {
	root := assetsDir(t)
	client := alone(t, root)
	for spec, marker := range map[string]string{
		"nlp/ranker:1.2": "nlp/ranker/1.2/.SUCCESS", "nlp/weights:" + aDate: "nlp/weights/." + aDate + ".SUCCESS",
	} {
		for _, hold := range []bool{false, true} {
			os.Remove(filepath.Join(root, marker))
			if _, err := client.Fetch(t.Context(), spec, heldIf(hold)...); !errors.Is(err, ErrDaemonUnavailable) {
				t.Errorf("%s: got %v", spec, err)
			}
			put(t, filepath.Join(root, marker), aReceipt)
			asset, err := client.Fetch(t.Context(), spec, heldIf(hold)...)
			if err != nil {
				t.Fatalf("%s: %v", spec, err)
			}
			asset.Close()
		}
	}
}

func TestWhateverIsOddIsLeftToTheDaemon(t *testing.T) {
	for name, make := range map[string]func(root string) error{
		"nothing stands": func(string) error { return nil },
		"the data are gone": func(root string) error {
			putFile(t, root, "nlp/odd", "0.1", aReceipt)
			return os.Remove(filepath.Join(root, "nlp/odd/0.1"))
		},
		"a directory, unmarked": func(root string) error {
			putDirectory(t, root, "nlp/odd", "0.1", "")
			return os.Remove(filepath.Join(root, "nlp/odd/0.1/.SUCCESS"))
		},
		"a file, unmarked": func(root string) error {
			putFile(t, root, "nlp/odd", "0.1", "")
			return os.Remove(filepath.Join(root, "nlp/odd/.0.1.SUCCESS"))
		},
		"the marker is a folder": func(root string) error { return os.MkdirAll(filepath.Join(root, "nlp/odd/0.1/.SUCCESS"), 0o755) },
		"the marker is a link": func(root string) error {
			put(t, filepath.Join(root, "nlp/odd/0.1"), "")
			return os.Symlink("0.1", filepath.Join(root, "nlp/odd/.0.1.SUCCESS"))
		},
		"the folder is a file": func(root string) error { put(t, filepath.Join(root, "nlp/odd"), ""); return nil },
		"the version is a link": func(root string) error {
			os.MkdirAll(filepath.Join(root, "nlp/odd"), 0o755)
			return os.Symlink("../ranker/1.2", filepath.Join(root, "nlp/odd/0.1"))
		},
		"the version is a FIFO": func(root string) error {
			putFile(t, root, "nlp/odd", "0.1", aReceipt)
			return errors.Join(os.Remove(filepath.Join(root, "nlp/odd/0.1")), syscall.Mkfifo(filepath.Join(root, "nlp/odd/0.1"), 0o644))
		},
	} {
		root := assetsDir(t)
		if err := make(root); err != nil {
			t.Fatal(err)
		}
		fast := alone(t, root).fast
		before := openFiles(t)
		for _, hold := range []bool{false, true} {
			if asset := fast.hit("nlp/odd:0.1", hold); asset != nil {
				t.Errorf("%s: got %+v", name, asset)
			}
		}
		if after := openFiles(t); after != before {
			t.Errorf("%s: %d files are open, and %d were", name, after, before)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestASpecThatIsOddIsLeftToTheDaemon(t *testing.T) {
	root := assetsDir(t)
	putDirectory(t, root, "outside/nlp/ranker", "1.2", aReceipt)
	for _, name := range []string{"nlp/odd_", "nlp/odd.", "nlp/odd-", "nlp/ranker/1.2", "nlp/1.2/x", "nlp/" + aDate} {
		putDirectory(t, root, name, "1.2", aReceipt)
	}
	if err := os.Symlink("b", filepath.Join(root, "nlp/ranker/1.2/linked")); err != nil {
		t.Fatal(err)
	}
	for _, spec := range []string{
		"", ":", "nlp/ranker", "nlp/ranker:", "nlp/ranker:1", "nlp/ranker:01.2", "nlp/ranker:1.02",
		"nlp/ranker:1.2.3", "/nlp/ranker:1.2", "nlp//ranker:1.2", "../outside/nlp/ranker:1.2",
		"nlp/../nlp/ranker:1.2", "./nlp/ranker:1.2", ".assetd:1.2", "nlp/ranker:..", "nlp/ranker:1.2\n",
		"nlp\x00/x:1.2", "nlp/ranker:1.2[", "nlp/ranker:1.2[]", "nlp/ranker:1.2[..]",
		"nlp/ranker:1.2[a/../a]", "nlp/ranker:1.2[./a]", "nlp/ranker:1.2[a/.]", "nlp/ranker:1.2[b//c]",
		"nlp/ranker:1.2[.SUCCESS]", "nlp/ranker:1.2[//a]", "nlp/ranker:1.2[a]x", "nlp/ranker:1.2[none]",
		"nlp/ranker:1.2[a/x]", "nlp/ranker:9.9", "no/such:1.2", "nlp/weights:" + aDate + "[a]",
		"nlp/ranker/1.2:1.2", "nlp/" + strings.Repeat("r", 300) + ":1.2", "nlp/ranker:١.٢",
		"nlp/ränker:1.2", "nlp/odd_:1.2", "nlp/odd.:1.2", "nlp/odd-:1.2", "nlp/1.2/x:1.2",
		"nlp/" + aDate + ":1.2", "nlp/ranker:1.2[linked/c]", "nlp/ranker:1.2[linked]", "nlp/ranker:1234567890123456789.0",
		"nlp/ranker:2026-01-31", "nlp/ranker:dddd-dd-ddTdd-dd-ddZ", "nlp/ranker:1.2]", "nlp/ranker:1.2[a\n]",
	} {
		fast := alone(t, root).fast
		if asset := fast.hit(spec, false); asset != nil {
			t.Errorf("%q: got %+v", spec, asset)
		}
	}
}

// Whoever asks for more than where a version is asks the daemon; and so does whoever says that
// there is no ASSETS_DIR here.
func TestWhateverElseIsAskedForIsACall(t *testing.T) {
	root := assetsDir(t)
	for name, options := range map[string][]FetchOption{
		"verify": {WithVerify()}, "force": {WithForceDownload()}, "include": {WithInclude("*")},
		"exclude": {WithExclude("*.bin")}, "part only": {WithPartOnly()},
		"digest": {WithExpectedDigest("sha256:ab")}, "freshness": {WithFreshness(FreshnessStore)},
	} {
		daemon := startDaemon(t, play(nil, started(), completed()))
		client, _ := newClient(t, daemon, WithAssetsDir(root))
		if _, err := client.Fetch(t.Context(), "nlp/ranker:1.2", options...); err != nil || len(daemon.requests) != 1 {
			t.Errorf("%s: %d calls, %v", name, len(daemon.requests), err)
		}
	}
}

func TestWhatChangesNothingOfAHitMakesNoCall(t *testing.T) {
	client := alone(t, assetsDir(t))
	asset, err := client.Fetch(t.Context(), "nlp/ranker:1.2", WithStoreTimeout(time.Second),
		WithProgressInterval(time.Second), WithProgress(func(Progress) {}))
	if err != nil || asset.Source != assetdv1.Source_SOURCE_CACHE {
		t.Errorf("got %+v and %v", asset, err)
	}
}

// The newest version this directory does not know; and an empty folder means none.
func TestWhatThisDirectoryCannotTellIsACall(t *testing.T) {
	root := assetsDir(t)
	t.Setenv("ASSETS_DIR", root)
	unpinned := []string{"nlp/ranker", "nlp/ranker:1"}
	for calls, options := range map[int][]Option{2: nil, 3: {WithAssetsDir("")}} {
		daemon := startDaemon(t, slices.Repeat([]script{play(nil, started(), completed())}, calls)...)
		client, _ := newClient(t, daemon, options...)
		for _, spec := range append(unpinned, "nlp/ranker:1.2") {
			if _, err := client.Fetch(t.Context(), spec); err != nil {
				t.Error(err)
			}
		}
		if len(daemon.requests) != calls {
			t.Errorf("called for %q", daemon.specs())
		}
	}
}

func TestAClosedClientDoesNotHit(t *testing.T) {
	client := alone(t, assetsDir(t))
	client.Close()
	if _, err := client.Fetch(t.Context(), "nlp/ranker:1.2"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTheEnvironmentNamesTheDirectory(t *testing.T) {
	here, _ := os.Getwd()
	given := func(folder string) *string { return &folder }
	for _, test := range []struct {
		assetsDir, modelkit string
		given               *string
		want                string
	}{
		{"", "", nil, ""}, {"/a", "", nil, "/a"}, {"", "/b", nil, "/b"}, {"/a", "/b", nil, "/a"},
		{"/a", "", given("/c"), "/c"}, {"/a", "", given(""), ""}, {"", "", given("d"), filepath.Join(here, "d")},
	} {
		getenv := func(name string) string {
			return map[string]string{"ASSETS_DIR": test.assetsDir, "MODELKIT_ASSETS_DIR": test.modelkit}[name]
		}
		if got, err := (settings{assetsDir: test.given}).findAssetsDir(getenv); err != nil || got != test.want {
			t.Errorf("%+v: got %q and %v", test, got, err)
		}
	}
}

// Where ASSETS_DIR is mounted elsewhere, a call and a hit without one give the same path.
func TestAPathOfTheDaemonsIsSeenFromHere(t *testing.T) {
	root := assetsDir(t)
	for folder, want := range map[string]string{
		root: filepath.Join(root, "nlp/ranker/1.2"), t.TempDir(): "/assets/nlp/ranker/1.2",
	} {
		daemon := startDaemon(t, play(nil, started(), completed()))
		client, _ := newClient(t, daemon, WithAssetsDir(folder))
		asset, err := client.Fetch(t.Context(), "nlp/ranker:1")
		if err != nil || asset.Path != want {
			t.Errorf("got %v and %v", asset, err)
		}
	}
}

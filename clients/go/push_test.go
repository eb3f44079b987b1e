package assetd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

const anID = "0e64b41f-7b92-4d5e-8a3c-5a1f0c9d2b77"

// weights writes a file of two and a half chunks.
func weights(t *testing.T) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "weights")
	content = bytes.Repeat([]byte("0123456789abcdef"), readBytes*5/2/16)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// model writes a folder of three files.
func model(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "model")
	write(t, filepath.Join(root, "a"), "aaaaaaaa")
	write(t, filepath.Join(root, "sub", "b"), "bbbbbbbb")
	write(t, filepath.Join(root, "sub", "c"), "cccccccc")
	return root
}

func TestAFileIsPushed(t *testing.T) {
	daemon := startDaemon(t)
	client, _ := newClient(t, daemon)
	path, content := weights(t)

	got, err := client.Push(t.Context(), path, "nlp/ranker:1", WithBump(BumpMajor),
		WithMode(ModeUpdate), WithPushID(anID), WithLabels(map[string]string{"a": "b"}))

	if err != nil {
		t.Fatal(err)
	}
	digest, err := Digest(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	record := daemon.only(t)
	want := &assetdv1.PushHeader{
		Spec: "nlp/ranker:1", Bump: BumpMajor, Mode: ModeUpdate, PushId: anID, Digest: digest,
		Kind: assetdv1.AssetKind_ASSET_KIND_FILE, Labels: map[string]string{"a": "b"},
	}
	if !proto.Equal(record.header, want) || record.digest != digest {
		t.Errorf("sent %v, and committed %s", record.header, record.digest)
	}
	file := &assetdv1.PushFile{SizeBytes: int64(len(content)), Digest: digest}
	if len(record.files) != 1 || !proto.Equal(record.files[0], file) {
		t.Errorf("announced %v", record.files)
	}
	if !bytes.Equal(record.contents[""], content) ||
		!slices.Equal(record.chunks, []int{readBytes, readBytes, readBytes / 2}) {
		t.Errorf("sent chunks of %v bytes", record.chunks)
	}
	if got.Name != "nlp/ranker" || got.Version != "1.3" || got.Digest != "sha256:cd" ||
		got.SizeBytes != Unknown || got.FileCount != Unknown || got.PushedBy != "me" ||
		got.Labels["a"] != "b" || !got.AlreadyExisted || got.PushID != anID {
		t.Errorf("got %+v", got)
	}
}

func TestAFolderIsPushed(t *testing.T) {
	daemon := startDaemon(t)
	client, _ := newClient(t, daemon)
	root := model(t)
	write(t, filepath.Join(root, "scratch", "x"), "")
	if err := os.Symlink("/etc", filepath.Join(root, "scratch", "link")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "sub", "b.log"), "")

	_, err := client.Push(t.Context(), root, "nlp/ranker", WithExclude("scratch/**", "**/*.log"))

	if err != nil {
		t.Fatal(err)
	}
	record := daemon.only(t)
	var paths []string
	for _, file := range record.files {
		paths = append(paths, file.GetPath())
	}
	if !slices.Equal(paths, []string{"a", "sub/b", "sub/c"}) {
		t.Errorf("announced %q", paths)
	}
	if got := record.contents; len(got) != 3 || string(got["sub/b"]) != "bbbbbbbb" {
		t.Errorf("sent %q", got)
	}
	os.RemoveAll(filepath.Join(root, "scratch"))
	os.Remove(filepath.Join(root, "sub", "b.log"))
	if digest, err := Digest(t.Context(), root); err != nil || record.digest != digest {
		t.Errorf("the digest is %s, and anyone computes %s, %v", record.digest, digest, err)
	}
	if record.header.GetKind() != assetdv1.AssetKind_ASSET_KIND_DIRECTORY {
		t.Errorf("sent %v", record.header)
	}
}

func TestFilesAreAnnouncedByTheThousand(t *testing.T) {
	daemon := startDaemon(t)
	client, _ := newClient(t, daemon)
	root := t.TempDir()
	for number := range 2001 {
		write(t, filepath.Join(root, fmt.Sprintf("%04d", number)), "")
	}
	if _, err := client.Push(t.Context(), root, "nlp/ranker"); err != nil {
		t.Fatal(err)
	}
	if got := daemon.only(t).batches; !slices.Equal(got, []int{1000, 1000, 1}) {
		t.Errorf("announced %v", got)
	}
}

func TestOnlyWhatIsWantedTravels(t *testing.T) {
	daemon := startDaemon(t)
	daemon.wants = func(file *assetdv1.PushFile) *assetdv1.PushWanted_Part {
		if file.GetPath() != "sub/b" {
			return nil
		}
		return &assetdv1.PushWanted_Part{Path: "sub/b", Offset: 5}
	}
	client, _ := newClient(t, daemon)
	var told []PushProgress

	_, err := client.Push(t.Context(), model(t), "nlp/ranker",
		WithPushProgress(func(progress PushProgress) { told = append(told, progress) }))

	if err != nil {
		t.Fatal(err)
	}
	if got := daemon.only(t).contents; len(got) != 1 || string(got["sub/b"]) != "\x00\x00\x00\x00\x00bbb" {
		t.Errorf("sent %q", got)
	}
	// What the store has counts as done.
	want := PushProgress{
		Phase: PushStoring, DoneBytes: 21, SentBytes: 21, StoredBytes: 21, TotalBytes: 24,
	}
	if told[len(told)-1] != want {
		t.Errorf("told %+v", told)
	}
}

func TestADryRunSendsNoByte(t *testing.T) {
	daemon := startDaemon(t)
	client, _ := newClient(t, daemon)
	if _, err := client.Push(t.Context(), model(t), "nlp/ranker", WithValidateOnly()); err != nil {
		t.Fatal(err)
	}
	record := daemon.only(t)
	if !record.header.GetValidateOnly() || len(record.files) != 3 || len(record.contents) != 0 {
		t.Errorf("sent %+v", record)
	}
}

package assetd

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// A status without a reason is not the daemon's word: something on the way broke the stream.
func TestAPushGoesOnWhateverCutsIt(t *testing.T) {
	for name, cut := range map[string]error{
		"unavailable": errCut, "cancelled": failing(t, codes.Canceled, ""),
		"internal":      failing(t, codes.Internal, "RST_STREAM"),
		"shutting down": failing(t, codes.Unavailable, "", because(ReasonShuttingDown)),
	} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t)
			daemon.pushScripts = []pushScript{ends(cut), ends(cut)}
			client, record := newClient(t, daemon)
			path, content := weights(t)
			pushed, err := client.Push(t.Context(), path, "nlp/ranker")
			if err != nil {
				t.Fatal(err)
			}
			if len(daemon.headers) != 3 || !proto.Equal(daemon.headers[0], daemon.headers[2]) ||
				pushed.PushID != daemon.headers[0].GetPushId() || len(record.lengths) != 2 {
				t.Errorf("sent %v, paused %v", daemon.headers, record.lengths)
			}
			if !bytes.Equal(daemon.only(t).contents[""], content) {
				t.Error("other bytes arrived")
			}
		})
	}
}

func TestOnlyWhatIsWantedThenIsSentAgain(t *testing.T) {
	daemon := startDaemon(t)
	daemon.pushScripts = []pushScript{func(stream pushed) error {
		if err := stream.Send(accepted()); err != nil {
			return err
		}
		files, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := stream.Send(daemon.answerFiles(new(pushRecord), files.GetFiles())); err != nil {
			return err
		}
		for range 2 {
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
		daemon.wants = func(file *assetdv1.PushFile) *assetdv1.PushWanted_Part {
			return map[string]*assetdv1.PushWanted_Part{
				"sub/b": {Path: "sub/b", Offset: 5}, "sub/c": {Path: "sub/c"},
			}[file.GetPath()]
		}
		return errCut
	}}
	client, _ := newClient(t, daemon)
	if _, err := client.Push(t.Context(), model(t), "nlp/ranker"); err != nil {
		t.Fatal(err)
	}
	got := daemon.only(t).contents
	if len(got) != 2 || string(got["sub/b"]) != "\x00\x00\x00\x00\x00bbb" || string(got["sub/c"]) != "cccccccc" {
		t.Errorf("sent %q", got)
	}
}

func inProgress(t *testing.T, metadata map[string]string) error {
	info := because(ReasonPushInProgress)
	info.Metadata = metadata
	return failing(t, codes.Aborted, "a push is under way", info)
}

// The daemon may not know yet that its stream is gone; it names the push if it is the same.
func TestAPushWaitsForItsOwnEarlierTry(t *testing.T) {
	own := inProgress(t, map[string]string{"push_id": anID})
	nameless := inProgress(t, nil)
	for name, scripts := range map[string][]pushScript{
		"repeated by hand": {ends(own)},
		"after a cut":      {ends(errCut), ends(own), ends(nameless)},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t)
			daemon.pushScripts = scripts
			client, _ := newClient(t, daemon)
			if _, err := client.Push(t.Context(), model(t), "nlp/ranker", WithPushID(anID)); err != nil {
				t.Fatal(err)
			}
			daemon.only(t)
		})
	}
}

func TestAPushDoesNotWaitForSomebodyElses(t *testing.T) {
	foreign := inProgress(t, map[string]string{"push_id": "another"})
	for name, scripts := range map[string][]pushScript{
		"at once": {ends(inProgress(t, nil))}, "after a cut": {ends(errCut), ends(foreign)},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t)
			daemon.pushScripts = scripts
			client, _ := newClient(t, daemon)
			_, err := client.Push(t.Context(), model(t), "nlp/ranker")
			if !errors.Is(err, ReasonPushInProgress) || len(daemon.records) != 0 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestARefusalIsNotRepeated(t *testing.T) {
	daemon := startDaemon(t)
	daemon.pushScripts = []pushScript{
		ends(failing(t, codes.AlreadyExists, "it exists", because(ReasonVersionExists))),
	}
	client, record := newClient(t, daemon)
	_, err := client.Push(t.Context(), model(t), "nlp/ranker:1.2")
	if !errors.Is(err, ReasonVersionExists) || len(record.lengths) != 0 {
		t.Errorf("got %v", err)
	}
}

// What was hashed is what is created, or nothing.
func TestASourceThatChangesIsNotCommitted(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, root string){
		"a file that was read": func(t *testing.T, root string) {
			write(t, filepath.Join(root, "a"), "AAAAAAAA")
		},
		"one more": func(t *testing.T, root string) { write(t, filepath.Join(root, "z"), "") },
		"one less": func(t *testing.T, root string) { os.Remove(filepath.Join(root, "sub", "b")) },
		"a link": func(t *testing.T, root string) {
			os.Remove(filepath.Join(root, "a"))
			os.Symlink("sub/b", filepath.Join(root, "a"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t)
			client, _ := newClient(t, daemon)
			root := model(t)
			daemon.wants = func(file *assetdv1.PushFile) *assetdv1.PushWanted_Part {
				if file.GetPath() == "a" {
					change(t, root)
				}
				return &assetdv1.PushWanted_Part{Path: file.GetPath()}
			}
			_, err := client.Push(t.Context(), root, "nlp/ranker")
			if !errors.Is(err, ReasonSourceChanged) || len(daemon.records) != 0 {
				t.Errorf("got %v, and %d commits", err, len(daemon.records))
			}
		})
	}
}

// The daemon sees other bytes than it was told; the client can tell whose doing that is.
func TestAMismatchIsToldByItsCause(t *testing.T) {
	mismatch := failing(t, codes.InvalidArgument, "other bytes", because(ReasonPushMismatch))
	root := model(t)
	for reason, change := range map[Reason]func(){
		ReasonPushMismatch:  func() {},
		ReasonSourceChanged: func() { write(t, filepath.Join(root, "a"), "A") },
	} {
		daemon := startDaemon(t)
		daemon.pushScripts = []pushScript{func(stream pushed) error {
			change()
			return ends(mismatch)(stream)
		}}
		client, _ := newClient(t, daemon)
		if _, err := client.Push(t.Context(), root, "nlp/ranker"); !errors.Is(err, reason) {
			t.Errorf("want %s, got %v", reason, err)
		}
	}
}

func TestAPushNeedsItsAnswer(t *testing.T) {
	daemon := startDaemon(t)
	daemon.pushScripts = []pushScript{ends(nil), func(stream pushed) error {
		if err := stream.Send(accepted()); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		parts := []*assetdv1.PushWanted_Part{{Path: "../etc/passwd"}}
		return stream.Send(&assetdv1.PushResponse{Event: &assetdv1.PushResponse_Wanted{
			Wanted: &assetdv1.PushWanted{Parts: parts},
		}})
	}}
	client, _ := newClient(t, daemon)
	for _, words := range []string{"without an answer", "which was not announced"} {
		_, err := client.Push(t.Context(), model(t), "nlp/ranker")
		if !errors.Is(err, ReasonInternal) || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAPushEndsWithItsContext(t *testing.T) {
	daemon := startDaemon(t)
	client, _ := newClient(t, daemon)
	for _, phase := range []PushPhase{PushHashing, PushSending} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := client.Push(ctx, model(t), "nlp/ranker",
			WithPushProgress(func(progress PushProgress) {
				if progress.Phase == phase {
					cancel()
				}
			}))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v: got %v", phase, err)
		}
		cancel()
	}
	daemon.awaitQuiet()
}

func TestNothingIsSentOfWhatCannotBePushed(t *testing.T) {
	client, _ := newClient(t, startDaemon(t))
	root := model(t)
	for name, test := range map[string]struct {
		path    string
		options []PushOption
		reason  Reason
	}{
		"no UUID4":             {root, []PushOption{WithPushID("1")}, ReasonInvalidField},
		"an odd UUID4":         {root, []PushOption{WithPushID(strings.ToUpper(anID))}, ReasonInvalidField},
		"a glob of nothing":    {root, []PushOption{WithExclude("sub/")}, ReasonInvalidField},
		"a glob for a file":    {filepath.Join(root, "a"), []PushOption{WithExclude("*")}, ReasonInvalidField},
		"nothing that is left": {root, []PushOption{WithExclude("**")}, ReasonInvalidPart},
	} {
		_, err := client.Push(t.Context(), test.path, "nlp/ranker", test.options...)
		if !errors.Is(err, test.reason) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := client.Push(t.Context(), "/no/such", "nlp/ranker"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := client.PushFrom(t.Context(), "s3://a/b", "c", WithExclude("*")); !errors.Is(err, ReasonInvalidField) {
		t.Errorf("got %v", err)
	}
}

func TestWhatTheDaemonFindsIsNamed(t *testing.T) {
	daemon := startDaemon(t)
	client, _ := newClient(t, daemon, WithAssetsDir("/mounted"))
	for _, path := range []string{
		"new/model", "/assets/.assetd/push/new/model", "/mounted/.assetd/push/new/model",
	} {
		if _, err := client.PushStaged(t.Context(), path, "nlp/ranker"); err != nil {
			t.Fatal(err)
		}
		record := daemon.records[len(daemon.records)-1]
		if record.header.GetStagedPath() != "new/model" || len(record.files) != 0 || record.digest != "" {
			t.Errorf("%s: sent %v", path, record.header)
		}
	}
	if _, err := client.PushStaged(t.Context(), "/assets/nlp", "x"); !errors.Is(err, ReasonInvalidField) {
		t.Errorf("got %v", err)
	}
	if _, err := client.PushFrom(t.Context(), "s3://bucket/model", "nlp/ranker"); err != nil {
		t.Fatal(err)
	}
	if got := daemon.records[3].header.GetSourceUri(); got != "s3://bucket/model" {
		t.Errorf("sent %q", got)
	}
}

// After a cut the daemon counts from what it finds, which may be less.
func TestPushProgressNeverFalls(t *testing.T) {
	var told []PushProgress
	meter := pushMeter{totalBytes: 100, report: func(progress PushProgress) { told = append(told, progress) }}
	meter.hashed(100)
	meter.observe(accepted())
	meter.lacks(90)
	meter.observe(tell(assetdv1.PushProgress_PHASE_RECEIVING, 80, 40))
	furthest := meter.furthest()
	meter.observe(accepted())
	meter.observe(tell(assetdv1.PushProgress_PHASE_RECEIVING, 10, 40))
	if meter.furthest() != furthest {
		t.Error("what arrives again has not come further")
	}
	meter.observe(tell(assetdv1.PushProgress_PHASE_STORING, 10, 41))
	if meter.furthest() <= furthest {
		t.Error("what is stored has come further")
	}
	meter.observe(tell(assetdv1.PushProgress_PHASE_COMMITTING, 0, 100))
	want := []PushProgress{
		{PushHashing, 100, 0, 0, 100}, {PushSending, 10, 10, 0, 100}, {PushStoring, 10, 10, 10, 100},
		{PushSending, 90, 90, 10, 100}, {PushStoring, 40, 90, 40, 100},
		{PushSending, 90, 90, 40, 100}, {PushStoring, 40, 90, 40, 100},
		{PushStoring, 41, 90, 41, 100}, {PushCommitting, 100, 90, 41, 100},
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %+v", told)
	}
}

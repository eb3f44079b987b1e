package assetd

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

func TestFetchReturnsWhatCompletedSays(t *testing.T) {
	daemon := startDaemon(t, play(nil, started(), progressed(50), completed()))
	client, _ := newClient(t, daemon)

	asset, err := client.Fetch(t.Context(), "nlp/ranker:1")

	if err != nil {
		t.Fatal(err)
	}
	want := &Asset{
		Path: "/assets/nlp/ranker/1.2", RelativePath: "nlp/ranker/1.2",
		Name: "nlp/ranker", Version: "1.2", Kind: assetdv1.AssetKind_ASSET_KIND_FILE,
		Resolution:       assetdv1.Resolution_RESOLUTION_STORE,
		Source:           assetdv1.Source_SOURCE_STORE,
		TransferredBytes: 100,
		Elapsed:          time.Second,
		facts: facts{
			digest: "sha256:ab", sizeBytes: 100, fileCount: 1, reusedBytes: 7,
			verification: assetdv1.Verification_VERIFICATION_CHECKSUM,
		},
	}
	if !reflect.DeepEqual(asset, want) {
		t.Errorf("got %+v", asset)
	}
	if err := asset.Close(); err != nil || asset.HoldEnded() != nil {
		t.Errorf("without a hold there is nothing to end: %v", err)
	}
}

// The daemon would note a caller that left, had the stream been dropped after its last event.
func TestFetchReadsItsStreamToTheEnd(t *testing.T) {
	asked, left := make(chan struct{}), make(chan bool, 1)
	daemon := startDaemon(t, func(stream events) error {
		err := play(nil, started(), completed())(stream)
		select {
		case <-asked:
			left <- false
		case <-stream.Context().Done():
			left <- true
		}
		return err
	})
	isComplete := false
	client, _ := newClient(t, daemon,
		receivingBy(func(message *assetdv1.FetchResponse, receive func() error) error {
			if isComplete {
				close(asked)
			}
			err := receive()
			isComplete = message.GetCompleted() != nil
			return err
		}))

	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Fatal(err)
	}
	if <-left {
		t.Error("the stream was dropped")
	}
}

func TestFetchSendsItsOptions(t *testing.T) {
	daemon := startDaemon(t, play(nil, started(), completed()), play(nil, started(), completed()))
	client, _ := newClient(t, daemon, WithCaller("ranker-server"))

	_, err := client.Fetch(t.Context(), "nlp/ranker:1",
		WithFreshness(FreshnessStoreOrCache), WithStoreTimeout(time.Second),
		WithProgressInterval(time.Minute), WithExpectedDigest("sha256:00"), WithForceDownload())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Fatal(err)
	}

	wanted := []*assetdv1.FetchRequest{{
		Spec: "nlp/ranker:1", Caller: "ranker-server",
		Freshness:     assetdv1.Freshness_FRESHNESS_STORE_OR_CACHE,
		StoreTimeout:  durationpb.New(time.Second),
		ForceDownload: true, ExpectedDigest: "sha256:00",
		ProgressInterval: durationpb.New(time.Minute),
	}, {Spec: "nlp/ranker", Caller: "ranker-server"}}
	if !slices.EqualFunc(daemon.requests, wanted, func(got, want *assetdv1.FetchRequest) bool {
		return proto.Equal(got, want)
	}) {
		t.Errorf("sent %v", daemon.requests)
	}
	// A path is no authority, and servers refuse it.
	if got := daemon.metadata[0].Get(":authority"); !slices.Equal(got, []string{"localhost"}) {
		t.Errorf("the :authority is %q", got)
	}
}

func TestFetchReportsProgress(t *testing.T) {
	resolving := &assetdv1.FetchResponse{Event: &assetdv1.FetchResponse_Progress{
		Progress: &assetdv1.FetchProgress{Phase: assetdv1.FetchPhase_FETCH_PHASE_RESOLVING},
	}}
	moving := progressed(60)
	moving.GetProgress().PresentFiles = 1
	moving.GetProgress().BytesPerSecond = 20
	moving.GetProgress().Eta = durationpb.New(2 * time.Second)
	moving.GetProgress().SinceLastByte = durationpb.New(time.Millisecond)
	daemon := startDaemon(t, play(nil, resolving, started(), moving, completed()))
	client, _ := newClient(t, daemon)

	var got []Progress
	_, err := client.Fetch(t.Context(), "nlp/ranker",
		WithProgress(func(progress Progress) { got = append(got, progress) }))

	want := []Progress{{
		Phase:      assetdv1.FetchPhase_FETCH_PHASE_RESOLVING,
		TotalBytes: Unknown, TotalFiles: Unknown, Remaining: Unknown, SinceLastByte: Unknown,
	}, {
		Phase:        assetdv1.FetchPhase_FETCH_PHASE_DOWNLOADING,
		PresentBytes: 60, TotalBytes: 100, PresentFiles: 1, TotalFiles: 1,
		BytesPerSecond: 20, Remaining: 2 * time.Second, SinceLastByte: time.Millisecond,
	}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v and %v", got, err)
	}
}

// The second stream begins with less than the first one had, as after a crash of the daemon,
// and has not resolved yet; a caller's bar follows, and does not lose its end.
func TestFetchProgressBeginsAnewAfterACut(t *testing.T) {
	unresolved := progressed(0)
	unresolved.GetProgress().TotalBytes = nil
	unresolved.GetProgress().TotalFiles = nil
	daemon := startDaemon(t,
		play(errCut, started(), progressed(40), progressed(70)),
		play(nil, unresolved, started(), progressed(60), progressed(90), completed()))
	client, _ := newClient(t, daemon)

	var present, total []int64
	_, err := client.Fetch(t.Context(), "nlp/ranker", WithProgress(func(progress Progress) {
		present = append(present, progress.PresentBytes)
		total = append(total, progress.TotalBytes)
	}))

	if err != nil || !slices.Equal(present, []int64{40, 70, 0, 60, 90}) {
		t.Errorf("got %v and %v", present, err)
	}
	if !slices.Equal(total, []int64{100, 100, 100, 100, 100}) {
		t.Errorf("got totals %v", total)
	}
}

// After a cut the same version is asked for, also when a newer one fits the spec by then.
func TestFetchJoinsAgain(t *testing.T) {
	exact := started()
	exact.GetStarted().Resolution = assetdv1.Resolution_RESOLUTION_EXACT
	for spec, joined := range map[string]string{
		"nlp/ranker":                   "nlp/ranker:1.2",
		"nlp/ranker:1":                 "nlp/ranker:1.2",
		"nlp/ranker:1[vocab/[en].txt]": "nlp/ranker:1.2[vocab/[en].txt]",
	} {
		t.Run(spec, func(t *testing.T) {
			daemon := startDaemon(t,
				play(errCut), play(errCut, started()), play(nil, exact, completed()))
			client, record := newClient(t, daemon)

			asset, err := client.Fetch(t.Context(), spec)

			if err != nil {
				t.Fatal(err)
			}
			if got := daemon.specs(); !slices.Equal(got, []string{spec, spec, joined}) {
				t.Errorf("asked for %q", got)
			}
			if asset.Resolution != assetdv1.Resolution_RESOLUTION_STORE {
				t.Errorf("the caller's spec was resolved by %v", asset.Resolution)
			}
			if len(record.lengths) != 2 {
				t.Errorf("paused %v", record.lengths)
			}
		})
	}
}

// Without a store, a path may have no version: there is nothing to pin.
func TestFetchJoinsAgainWithoutAVersion(t *testing.T) {
	unversioned := started()
	unversioned.GetStarted().AssetVersion = &assetdv1.AssetVersion{Name: "raw/data"}
	daemon := startDaemon(t, play(errCut, unversioned), play(nil, unversioned, completed()))
	client, _ := newClient(t, daemon)

	if _, err := client.Fetch(t.Context(), "raw/data"); err != nil {
		t.Fatal(err)
	}
	if got := daemon.specs(); !slices.Equal(got, []string{"raw/data", "raw/data"}) {
		t.Errorf("asked for %q", got)
	}
}

func TestFetchFindsADaemonThatCameBack(t *testing.T) {
	daemon := startDaemon(t, play(nil, started(), completed()))
	daemon.server.Stop()
	client, _ := newClient(t, daemon)
	restarted := false
	client.clock.pause = func(ctx context.Context, _ time.Duration) error {
		if !restarted {
			restarted = true
			daemon.start(t)
		}
		awaitReady(ctx, client)
		return ctx.Err()
	}

	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Error(err)
	}
	if !restarted {
		t.Error("the first attempt found a daemon")
	}
}

// awaitReady returns once gRPC, which connects again by itself, has done so.
func awaitReady(ctx context.Context, client *Client) {
	client.connection.Connect()
	for state := client.connection.GetState(); state != connectivity.Ready; {
		if !client.connection.WaitForStateChange(ctx, state) {
			return
		}
		state = client.connection.GetState()
	}
}

// Somebody who forgot to start a daemon is told so soon: after 1.5 s of growing pauses.
func TestFetchGivesUpAndSaysWhatToDo(t *testing.T) {
	daemon := startDaemon(t)
	daemon.server.Stop()
	client, record := newClient(t, daemon)

	_, err := client.Fetch(t.Context(), "nlp/ranker")

	var failure *Error
	if !errors.As(err, &failure) || failure.Code != codes.Unavailable || failure.Reason != "" ||
		!errors.Is(err, ErrDaemonUnavailable) {
		t.Fatalf("got %v", err)
	}
	for _, hint := range []string{
		daemon.address, "assetd serve", "ASSETD_ADDRESS", "(no such file or directory)",
	} {
		if !strings.Contains(failure.Message, hint) {
			t.Errorf("the message lacks %q: %v", hint, err)
		}
	}
	if failure.Metadata["address"] != daemon.address {
		t.Errorf("the metadata are %v", failure.Metadata)
	}
	if len(record.lengths) < 3 || record.passed > 1500*time.Millisecond {
		t.Errorf("paused %v", record.lengths)
	}
}

// What the daemon says of itself needs no advice, and ends the retries with its own words.
func TestFetchGivesUpOnAStoreThatIsAway(t *testing.T) {
	away := failing(t, codes.Unavailable, "the store is away", because(ReasonStoreUnavailable))
	daemon := startDaemon(t, play(away))
	client, _ := newClient(t, daemon, impatient)

	_, err := client.Fetch(t.Context(), "nlp/ranker")

	if !errors.Is(err, ReasonStoreUnavailable) ||
		err.Error() != "assetd: STORE_UNAVAILABLE: the store is away" {
		t.Errorf("got %v", err)
	}
}

func TestFetchCountsAnewWhenBytesMoved(t *testing.T) {
	daemon := startDaemon(t,
		play(errCut, started(), progressed(10)),
		play(errCut, started(), progressed(20)),
		play(errCut, started(), progressed(30)),
		play(errCut, started(), progressed(30)))
	// Patience for one pause of half a second to a second, and never for two.
	client, _ := newClient(t, daemon, WithRetryPolicy(RetryPolicy{
		Patience: time.Second, FirstDelay: time.Second, MaxDelay: time.Second,
	}))

	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err == nil {
		t.Error("it never gave up")
	}
}

func TestFetchRetriesNothingElse(t *testing.T) {
	for code, reason := range map[codes.Code]Reason{
		codes.NotFound: "", codes.ResourceExhausted: "", codes.DataLoss: "", codes.DeadlineExceeded: "",
		codes.Internal: ReasonIOError,
	} {
		full := failing(t, code, "no", because(reason))
		daemon := startDaemon(t, play(full, started()))
		client, record := newClient(t, daemon)
		_, err := client.Fetch(t.Context(), "nlp/ranker")
		var failure *Error
		if !errors.As(err, &failure) || failure.Code != code || len(record.lengths) != 0 {
			t.Errorf("%v: got %v, paused %v", code, err, record.lengths)
		}
	}
}

package assetd_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assetd/assetd/clients/go"
	"github.com/assetd/assetd/clients/go/assetdv1"
	"github.com/assetd/assetd/clients/go/internal/realdaemon"
)

// patient clients wait for a daemon on a busy machine.
var patient = assetd.WithRetryPolicy(assetd.RetryPolicy{
	Patience: time.Minute, ConnectPatience: time.Minute,
})

func connect(t *testing.T, daemon *realdaemon.Daemon, options ...assetd.Option) *assetd.Client {
	t.Helper()
	client, err := assetd.New(daemon.Address, append(options, patient)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func writeModel(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "model")
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

var modelFiles = map[string]string{
	"config.json": "{}", ".gitattributes": "", "weights/0": strings.Repeat("w", 3<<20),
	"weights/1": "ww", "train.log": "excluded",
}

// push creates nlp/ranker:0.0 of the model's four files.
func push(t *testing.T, client *assetd.Client) (root string, pushed *assetd.PushedVersion) {
	t.Helper()
	root = writeModel(t, modelFiles)
	pushed, err := client.Push(t.Context(), root, "nlp/ranker", assetd.WithMode(assetd.ModeNew),
		assetd.WithExclude("*.log"), assetd.WithLabels(map[string]string{"by": "test"}))
	if err != nil {
		t.Fatal(err)
	}
	return root, pushed
}

func TestAFolderGoesThereAndBack(t *testing.T) {
	daemon := realdaemon.Start(t)
	client := connect(t, daemon)
	root, pushed := push(t, client)
	if err := os.Remove(filepath.Join(root, "train.log")); err != nil {
		t.Fatal(err)
	}
	digest, err := assetd.Digest(t.Context(), root)
	if err != nil || pushed.Version != "0.0" || pushed.Digest != digest || pushed.FileCount != 4 ||
		pushed.AlreadyExisted || pushed.Labels["by"] != "test" {
		t.Fatalf("pushed %+v, %v", pushed, err)
	}
	again, err := client.Push(t.Context(), root, "nlp/ranker:0.0", assetd.WithPushID(pushed.PushID))
	if err != nil || again.PushID != pushed.PushID || again.Digest != digest {
		t.Errorf("the repeat has its own answer: %+v, %v", again, err)
	}
	equal, err := client.Push(t.Context(), root, "nlp/ranker:0.0")
	if err != nil || !equal.AlreadyExisted || equal.PushID == pushed.PushID {
		t.Errorf("pushed the same %+v, %v", equal, err)
	}

	asset, err := client.Fetch(t.Context(), "nlp/ranker", assetd.WithExpectedDigest(digest), assetd.WithVerify())
	if err != nil {
		t.Fatal(err)
	}
	got, err := assetd.Digest(t.Context(), asset.Path)
	if err != nil || got != digest || asset.Digest() != digest || asset.FileCount() != 4 ||
		asset.Source != assetdv1.Source_SOURCE_STORE || asset.SizeBytes() != 3<<20+4 {
		t.Errorf("fetched %+v with %s, %v", asset, got, err)
	}
	part, err := client.Fetch(t.Context(), "nlp/ranker:0.0[weights/1]", assetd.WithPartOnly())
	if err != nil || filepath.Base(part.Path) != "1" {
		t.Errorf("fetched %+v, %v", part, err)
	}
	resolved, err := client.Resolve(t.Context(), "nlp/ranker:0")
	if err != nil || resolved.GetAssetVersion().GetVersion() != "0.0" ||
		resolved.GetCacheState().GetPresence() != assetdv1.CacheState_PRESENCE_PRESENT {
		t.Errorf("resolved %v, %v", resolved, err)
	}
}

func TestListingsOfADaemon(t *testing.T) {
	client := connect(t, realdaemon.Start(t))
	root, _ := push(t, client)
	for range 2 {
		if _, err := client.Push(t.Context(), filepath.Join(root, "train.log"), "logs/train"); err != nil {
			t.Fatal(err)
		}
	}
	var specs, paths []string
	for entry, err := range client.List(t.Context(), "", assetd.WithPageSize(1)) {
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, entry.GetAssetVersion().GetName()+":"+entry.GetAssetVersion().GetVersion())
	}
	if !slices.Equal(specs, []string{"logs/train:0.1", "logs/train:0.0", "nlp/ranker:0.0"}) {
		t.Errorf("listed %q", specs)
	}
	for file, err := range client.ListFiles(t.Context(), "nlp/ranker", assetd.WithInclude("weights/*", "*.json"), assetd.WithPageSize(1)) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, file.GetFile().GetPath())
	}
	if !slices.Equal(paths, []string{"config.json", "weights/0", "weights/1"}) {
		t.Errorf("listed %q", paths)
	}
	for _, err := range client.ListFiles(t.Context(), "no/such") {
		if !errors.Is(err, assetd.ReasonAssetNotFound) {
			t.Errorf("got %v", err)
		}
	}
}

// The file lies where the daemon looks; a dry run creates nothing.
func TestAStagedPush(t *testing.T) {
	daemon := realdaemon.Start(t)
	client := connect(t, daemon, assetd.WithAssetsDir(daemon.AssetsDir))
	staged := filepath.Join(daemon.AssetsDir, ".assetd", "push", "new")
	if err := errors.Join(os.MkdirAll(filepath.Dir(staged), 0o755), os.WriteFile(staged, []byte("new"), 0o644)); err != nil {
		t.Fatal(err)
	}
	dry, err := client.PushStaged(t.Context(), staged, "nlp/new", assetd.WithValidateOnly())
	if err != nil || dry.Version != "0.0" {
		t.Fatalf("got %+v and %v", dry, err)
	}
	if _, err := client.Resolve(t.Context(), "nlp/new"); !errors.Is(err, assetd.ReasonAssetNotFound) {
		t.Errorf("got %v", err)
	}
	if pushed, err := client.PushStaged(t.Context(), "new", "nlp/new"); err != nil || pushed.Version != "0.0" {
		t.Errorf("got %+v and %v", pushed, err)
	}
}

// What the daemon has fetched is found without it, leased against its own evictor, and told with
// the same figures.
func TestAHitIsWhatTheDaemonLeft(t *testing.T) {
	daemon := realdaemon.Start(t)
	client := connect(t, daemon, assetd.WithAssetsDir(daemon.AssetsDir))
	push(t, client)
	called, err := client.Fetch(t.Context(), "nlp/ranker:0.0")
	if err != nil || called.Elapsed == 0 {
		t.Fatalf("got %+v and %v", called, err)
	}
	hit, err := client.Fetch(t.Context(), "nlp/ranker:0.0", assetd.WithHold())
	if err != nil {
		t.Fatal(err)
	}
	if hit.Elapsed != 0 || hit.Path != called.Path || hit.RelativePath != called.RelativePath ||
		hit.Kind != called.Kind || hit.Digest() != called.Digest() ||
		hit.SizeBytes() != called.SizeBytes() || hit.FileCount() != called.FileCount() ||
		hit.Verification() != called.Verification() {
		t.Errorf("hit %+v, and the call gave %+v", hit, called)
	}
	cache := assetdv1.NewCacheServiceClient(client.Connection())
	evict := &assetdv1.EvictRequest{Selector: &assetdv1.CacheSelector{
		Selector: &assetdv1.CacheSelector_Spec{Spec: "nlp/ranker:0.0"},
	}}
	for _, want := range []assetdv1.EvictResponse_Entry_Outcome{
		assetdv1.EvictResponse_Entry_OUTCOME_LEASED, assetdv1.EvictResponse_Entry_OUTCOME_EVICTED,
	} {
		evicted, err := cache.Evict(t.Context(), evict)
		if err != nil || len(evicted.GetEntries()) != 1 || evicted.GetEntries()[0].GetOutcome() != want {
			t.Errorf("want %v, got %v and %v", want, evicted, err)
		}
		hit.Close()
	}
	fetched, err := client.Fetch(t.Context(), "nlp/ranker:0.0")
	if err != nil || fetched.Source != assetdv1.Source_SOURCE_STORE {
		t.Errorf("got %+v and %v", fetched, err)
	}
}

// A hold outlives the daemon that it was taken from.
func TestAHoldSurvivesARestart(t *testing.T) {
	daemon := realdaemon.Start(t)
	client := connect(t, daemon, assetd.WithCaller("survivor"), assetd.WithAssetsDir(""))
	push(t, client)
	asset, err := client.Fetch(t.Context(), "nlp/ranker", assetd.WithHold())
	if err != nil {
		t.Fatal(err)
	}
	daemon.Restart(t)
	cache := assetdv1.NewCacheServiceClient(connect(t, daemon).Connection())
	for isHeld := false; !isHeld; time.Sleep(10 * time.Millisecond) {
		status, err := cache.GetCacheStatus(t.Context(), &assetdv1.GetCacheStatusRequest{})
		if err != nil {
			// gRPC dials the new one now and then.
			continue
		}
		isHeld = slices.ContainsFunc(status.GetHolds(), func(hold *assetdv1.Hold) bool {
			return hold.GetCaller() == "survivor"
		})
	}
	if !asset.IsHeld() {
		t.Error("it is not held")
	}
	if err := asset.Close(); err != nil {
		t.Error(err)
	}
}

// The example of README, as it stands there, in a program.
func TestTheExampleOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if example == nil || strings.Count(string(example[1]), "\n") > 15 {
		t.Fatal("README begins with no example of at most 15 lines")
	}
	daemon := realdaemon.Start(t)
	push(t, connect(t, daemon))
	program := filepath.Join(t.TempDir(), "main.go")
	source := "package main\n\nimport (\n\t\"context\"\n\t\"fmt\"\n\t\"log\"\n\n" +
		"\t\"github.com/assetd/assetd/clients/go\"\n)\n\n" +
		"func main() {\n\tif err := serve(context.Background()); err != nil {\n\t\tlog.Fatal(err)\n\t}\n}\n\n" +
		string(example[1])
	if err := os.WriteFile(program, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("go", "run", program)
	run.Env = append(daemon.Environment, "ASSETD_ADDRESS="+daemon.Address)
	output, err := run.CombinedOutput()
	if want := "serving 0.0 from " + daemon.AssetsDir + "/nlp/ranker/0.0\n"; err != nil || string(output) != want {
		t.Errorf("got %q and %v", output, err)
	}
}

//go:build linux || darwin

package assetd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Whoever would evict the version asks the kernel, and is refused until it is released.
func TestAHoldWithoutACallIsALease(t *testing.T) {
	root := assetsDir(t)
	for spec, path := range map[string]string{
		"nlp/ranker:1.2[a]": "nlp/ranker/1.2", "nlp/weights:" + aDate: "nlp/weights/" + aDate,
	} {
		path = filepath.Join(root, path)
		client := alone(t, root)
		first, second := fetchHit(t, client, spec), fetchHit(t, client, spec)
		if !isLocked(t, path) {
			t.Error("it is not leased")
		}
		if err := errors.Join(first.Close(), first.Close()); err != nil || first.IsHeld() || !second.IsHeld() || !isLocked(t, path) {
			t.Errorf("the other one is not leased any more, %v", err)
		}
		client.Close()
		<-second.HoldEnded()
		if isLocked(t, path) {
			t.Error("it is still leased by a client that is closed")
		}
	}
}

func fetchHit(t *testing.T, client *Client, spec string) *Asset {
	t.Helper()
	asset, err := client.Fetch(t.Context(), spec, WithHold())
	if err != nil {
		t.Fatal(err)
	}
	return asset
}

// What was locked may have been replaced, or evicted, before the lock was there.
func TestALeaseIsOnWhatStands(t *testing.T) {
	root := assetsDir(t)
	path := filepath.Join(root, "nlp/ranker/1.2")
	for name, change := range map[string]func() error{
		"evicted": func() error { return os.Rename(path, path+"-gone") },
		"replaced": func() error {
			putDirectory(t, root, "nlp/ranker", "1.2", aReceipt)
			return os.RemoveAll(path + "-gone")
		},
	} {
		os.Rename(path+"-gone", path)
		lease := openLease(path)
		if lease == nil {
			t.Fatal("it cannot be leased")
		}
		if name == "replaced" {
			os.Rename(path, path+"-gone")
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if lease.begin(path, t.Context()) {
			t.Errorf("%s: the lease began", name)
		}
		lease.end()
	}
}

func TestAVersionThatIsBeingEvictedIsNotLeased(t *testing.T) {
	root := assetsDir(t)
	file, err := os.Open(filepath.Join(root, "nlp/ranker/1.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	fast := alone(t, root).fast
	if fast.hit("nlp/ranker:1.2", true) != nil || fast.hit("nlp/ranker:1.2", false) == nil {
		t.Error("an evictor's lock is for those who hold")
	}
}

// A marker is touched once a minute, so that the evictor sees the use, and not each time.
func TestAUseLeavesATraceNowAndThen(t *testing.T) {
	root := assetsDir(t)
	marker := filepath.Join(root, "nlp/ranker/1.2/.SUCCESS")
	fast := alone(t, root).fast
	modified := func() time.Time {
		information, err := os.Stat(marker)
		if err != nil {
			t.Fatal(err)
		}
		return information.ModTime()
	}
	var touched []bool
	for _, age := range []time.Duration{59 * time.Second, 61 * time.Second, -time.Hour} {
		before := time.Now().Add(-age).Truncate(time.Second)
		fast.now = func() time.Time { return before.Add(age) }
		if err := os.Chtimes(marker, before, before); err != nil {
			t.Fatal(err)
		}
		if fast.hit("nlp/ranker:1.2", false) == nil {
			t.Fatal("no hit")
		}
		touched = append(touched, !modified().Equal(before))
	}
	if !slices.Equal(touched, []bool{false, true, true}) {
		t.Errorf("touched %v", touched)
	}
	// Who was refused does not ask each time.
	before := time.Now().Add(-time.Hour).Truncate(time.Second)
	os.Chtimes(marker, before, before)
	fast.now = time.Now
	fast.deniedAt.Store(time.Now().UnixNano())
	if fast.hit("nlp/ranker:1.2", false) == nil || !modified().Equal(before) {
		t.Error("it was touched by somebody who may not")
	}
}

// What a hit costs beside the system's own time: that is bounded where a clock would not do.
func TestAHitIsLight(t *testing.T) {
	client := alone(t, assetsDir(t))
	ctx := t.Context()
	for spec, limit := range map[string]float64{"nlp/ranker:1.2": 10, "nlp/ranker:1.2[b/c]": 14} {
		got := testing.AllocsPerRun(100, func() {
			if _, err := client.Fetch(ctx, spec); err != nil {
				t.Fatal(err)
			}
		})
		if got > limit {
			t.Errorf("%s: %v allocations", spec, got)
		}
	}
}

// On a thousand versions, half of them files, in a new order each round. The median, p50-ns, is what
// the warm path is held to: 10 microseconds without a hold.
func BenchmarkFetchWithoutACall(b *testing.B) {
	root := b.TempDir()
	specs := make([]string, 1000)
	for number := range specs {
		name := fmt.Sprintf("team%d/model%d", number%10, number)
		if specs[number] = name + ":1.2"; number%2 == 0 {
			putDirectory(b, root, name, "1.2", aReceipt)
		} else {
			putFile(b, root, name, "1.2", aReceipt)
		}
	}
	for name, options := range map[string][]FetchOption{"plain": nil, "held": {WithHold()}} {
		b.Run(name, func(b *testing.B) {
			client := alone(b, root)
			lengths := make([]time.Duration, 0, 1<<20)
			b.ReportAllocs()
			for round := 0; b.Loop(); round++ {
				if round%len(specs) == 0 {
					rand.Shuffle(len(specs), func(i, j int) { specs[i], specs[j] = specs[j], specs[i] })
				}
				begin := time.Now()
				asset, err := client.Fetch(b.Context(), specs[round%len(specs)], options...)
				length := time.Since(begin)
				if err != nil {
					b.Fatal(err)
				}
				asset.Close()
				if len(lengths) < cap(lengths) {
					lengths = append(lengths, length)
				}
			}
			slices.Sort(lengths)
			b.ReportMetric(float64(lengths[len(lengths)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(lengths[len(lengths)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

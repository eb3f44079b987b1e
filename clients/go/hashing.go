package assetd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const tellInterval = 100 * time.Millisecond

// digests are what a source hashes to: the whole, and each file by its path.
type digests struct {
	digest string
	files  map[string]string
}

// hashing is the work that several goroutines share: each file is handed out once.
type hashing struct {
	source *source
	// The largest first: were it the last one, all others would be done long before.
	todo        []sourceFile
	next        atomic.Int64
	hashedBytes atomic.Int64
	mutex       sync.Mutex
	hexes       map[string]string
}

// hashSource reads everything once, on all processors; report gets the bytes hashed so far, now
// and then and at the end, from the caller's goroutine. It fails with ReasonSourceChanged if a
// file is not, or did not stay, what was listed; and with the cause of ctx once that has ended.
func hashSource(ctx context.Context, source *source, report func(int64)) (*digests, error) {
	work := &hashing{
		source: source,
		todo: slices.SortedFunc(slices.Values(source.files), func(one, other sourceFile) int {
			return cmp.Compare(other.sizeBytes, one.sizeBytes)
		}),
		hexes: make(map[string]string, len(source.files)),
	}
	ctx, stop := context.WithCancelCause(ctx)
	// Also when report panics.
	defer stop(nil)
	done := work.start(ctx, stop)
	ticker := time.NewTicker(tellInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			report(work.hashedBytes.Load())
		case <-done:
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			report(work.hashedBytes.Load())
			return work.digests(), nil
		}
	}
}

// start begins to hash; what it returns is closed when all is done, or failed.
func (h *hashing) start(ctx context.Context, stop context.CancelCauseFunc) <-chan struct{} {
	var group sync.WaitGroup
	for range min(len(h.todo), runtime.GOMAXPROCS(0)) {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := h.run(ctx); err != nil {
				stop(err)
			}
		}()
	}
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	return done
}

func (h *hashing) run(ctx context.Context) error {
	// One for all files: memory that is new for each read costs more than the reading.
	buffer := make([]byte, readBytes)
	for {
		position := h.next.Add(1) - 1
		if position >= int64(len(h.todo)) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		file := h.todo[position]
		sum := sha256.New()
		err := h.source.read(file, 0, func() []byte { return buffer }, func(data []byte) error {
			sum.Write(data)
			h.hashedBytes.Add(int64(len(data)))
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		h.mutex.Lock()
		h.hexes[file.path] = hexSum(sum)
		h.mutex.Unlock()
	}
}

func (h *hashing) digests() *digests {
	files := make(map[string]string, len(h.hexes))
	for path, hex := range h.hexes {
		files[path] = digestPrefix + hex
	}
	if !h.source.isFolder {
		return &digests{files[""], files}
	}
	listing := sha256.New()
	for _, file := range h.source.files {
		fmt.Fprintf(listing, "%s  %s\n", h.hexes[file.path], file.path)
	}
	return &digests{digestPrefix + hexSum(listing), files}
}

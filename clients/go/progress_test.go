package assetd

import (
	"errors"
	"slices"
	"testing"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

func attempt(number int32, presentBytes int64, presentFiles int32) *assetdv1.FetchResponse {
	response := progressed(presentBytes)
	response.GetProgress().Attempt = number
	response.GetProgress().PresentFiles = presentFiles
	return response
}

// Figures that fall within one attempt are a defect that no bar should hide.
func TestADaemonWhoseProgressFallsIsRefused(t *testing.T) {
	for name, lie := range map[string]*assetdv1.FetchResponse{
		"bytes": attempt(1, 49, 1), "files": attempt(1, 60, 0), "an attempt before": attempt(0, 40, 1),
	} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t, playAndStay(forever, nil, started(), attempt(1, 50, 1), lie, completed()))
			client, record := newClient(t, daemon)
			asset, err := client.Fetch(t.Context(), "nlp/ranker", WithHold())
			if asset != nil || !errors.Is(err, ReasonInternal) || len(record.lengths) != 0 {
				t.Errorf("got %v and %v", asset, err)
			}
		})
	}
}

// A new attempt, or another daemon after a cut, may begin with less: that is told as it is, and
// the attempt tells why. A total that is known stays known.
func TestANewAttemptMayBeginWithLess(t *testing.T) {
	totalless := attempt(2, 0, 0)
	totalless.GetProgress().TotalBytes, totalless.GetProgress().TotalFiles = nil, nil
	daemon := startDaemon(t,
		play(errCut, started(), attempt(1, 50, 1), attempt(2, 10, 0), attempt(2, 60, 1)),
		play(errCut, started(), attempt(1, 20, 0), attempt(1, 70, 1)),
		play(nil, started(), attempt(1, 70, 1), totalless, completed()))
	client, _ := newClient(t, daemon)
	var attempts []int
	var present []int64
	_, err := client.Fetch(t.Context(), "nlp/ranker", WithProgress(func(progress Progress) {
		attempts = append(attempts, progress.Attempt)
		present = append(present, progress.PresentBytes)
		if progress.TotalBytes != 100 || progress.TotalFiles != 1 {
			t.Errorf("the totals are %d and %d", progress.TotalBytes, progress.TotalFiles)
		}
	}))
	if err != nil || !slices.Equal(attempts, []int{1, 2, 2, 3, 3, 3, 4}) ||
		!slices.Equal(present, []int64{50, 10, 60, 20, 70, 70, 0}) {
		t.Errorf("got %v, %v and %v", attempts, present, err)
	}
}

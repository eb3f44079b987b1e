package assetd

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// Unknown stands for a figure that cannot be told, or not yet.
const Unknown = -1

// Progress tells how far a download is. The figures are those of the download, which other
// callers may share, and count what was here before it began.
type Progress struct {
	// Phase is what the daemon does right now.
	Phase assetdv1.FetchPhase
	// PresentBytes and PresentFiles never fall within one Attempt. Another one may begin lower:
	// bytes proved useless, or after a cut there was a daemon without them.
	PresentBytes int64
	PresentFiles int
	// TotalBytes and TotalFiles are what these will reach. Unknown until the version is
	// resolved; what is known stays known.
	TotalBytes int64
	TotalFiles int
	// BytesPerSecond is averaged over the last seconds.
	BytesPerSecond int64
	// Remaining is how long the rest takes at that speed, or Unknown.
	Remaining time.Duration
	// SinceLastByte grows while the source is silent. Unknown until the first byte.
	SinceLastByte time.Duration
	// Attempt is from 1, and rises whenever what had arrived is lost and fetched again, also
	// where another daemon begins lower after a cut.
	Attempt int
}

// nothingYet is the progress of a fetch that has told nothing.
var nothingYet = Progress{
	TotalBytes: Unknown, TotalFiles: Unknown, Remaining: Unknown, SinceLastByte: Unknown,
}

// figures puts the progress of one stream after another into one. A daemon promises figures
// that never fall within one attempt; after a cut there may be another daemon, which counts
// from what it finds.
type figures struct {
	shown Progress
	// The last one of this stream; nil when it has told nothing yet.
	last *assetdv1.FetchProgress
	// The last one of all streams.
	before          *assetdv1.FetchProgress
	earlierAttempts int
}

// newStream notes that what comes next is of another stream.
func (f *figures) newStream() {
	f.last = nil
}

// note takes the daemon's next figures. It fails with ReasonInternal if they fell although
// the attempt is the same.
func (f *figures) note(message *assetdv1.FetchProgress) error {
	if f.last != nil && message.GetAttempt() <= f.last.GetAttempt() && hasFallen(f.last, message) {
		return fallen(f.last, message)
	}
	attempt := int(message.GetAttempt()) + f.earlierAttempts
	if attempt <= f.shown.Attempt {
		attempt = f.shown.Attempt
		if hasFallen(f.before, message) {
			attempt++
		}
		f.earlierAttempts = attempt - int(message.GetAttempt())
	}
	f.last, f.before = message, message
	f.shown = f.shown.followedBy(message)
	f.shown.Attempt = attempt
	return nil
}

func hasFallen(before, now *assetdv1.FetchProgress) bool {
	return now.GetPresentBytes() < before.GetPresentBytes() ||
		now.GetPresentFiles() < before.GetPresentFiles()
}

func fallen(before, now *assetdv1.FetchProgress) *Error {
	return ownError(ReasonInternal, fmt.Sprintf("the daemon's progress fell from %d to %d bytes, "+
		"and from %d to %d files, within one attempt", before.GetPresentBytes(),
		now.GetPresentBytes(), before.GetPresentFiles(), now.GetPresentFiles()),
		"present_bytes", strconv.FormatInt(now.GetPresentBytes(), 10),
		"earlier_present_bytes", strconv.FormatInt(before.GetPresentBytes(), 10),
		"present_files", strconv.Itoa(int(now.GetPresentFiles())),
		"earlier_present_files", strconv.Itoa(int(before.GetPresentFiles())))
}

// followedBy returns what the message tells, with no total that was known taken back.
func (p Progress) followedBy(message *assetdv1.FetchProgress) Progress {
	next := Progress{
		Phase:          message.GetPhase(),
		PresentBytes:   message.GetPresentBytes(),
		PresentFiles:   int(message.GetPresentFiles()),
		TotalBytes:     p.TotalBytes,
		TotalFiles:     p.TotalFiles,
		BytesPerSecond: message.GetBytesPerSecond(),
		Remaining:      durationOrUnknown(message.GetEta()),
		SinceLastByte:  durationOrUnknown(message.GetSinceLastByte()),
	}
	if message.TotalBytes != nil {
		next.TotalBytes = message.GetTotalBytes()
	}
	if message.TotalFiles != nil {
		next.TotalFiles = int(message.GetTotalFiles())
	}
	return next
}

func durationOrUnknown(duration *durationpb.Duration) time.Duration {
	if duration == nil {
		return Unknown
	}
	return duration.AsDuration()
}

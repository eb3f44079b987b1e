package assetd

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// Unknown stands in a [Progress] for a figure that the daemon cannot tell yet.
const Unknown = -1

// Progress tells how far a download is. The figures are those of the download, which other
// callers may share, and count what was here before it began.
type Progress struct {
	// Phase is what the daemon does right now.
	Phase assetdv1.FetchPhase
	// PresentBytes and PresentFiles never fall during one Fetch: when bytes proved useless,
	// or the daemon came back without them, they stand still until that is made up for.
	PresentBytes int64
	PresentFiles int
	// TotalBytes and TotalFiles are what these will reach. Unknown until the version is
	// resolved.
	TotalBytes int64
	TotalFiles int
	// BytesPerSecond is averaged over the last seconds.
	BytesPerSecond int64
	// Remaining is how long the rest takes at that speed, or Unknown.
	Remaining time.Duration
	// SinceLastByte grows while the source is silent. Unknown until the first byte.
	SinceLastByte time.Duration
}

// nothingYet is the progress of a fetch that has told nothing.
var nothingYet = Progress{
	TotalBytes: Unknown, TotalFiles: Unknown, Remaining: Unknown, SinceLastByte: Unknown,
}

// followedBy returns what the message tells, with nothing that was known taken back.
func (p Progress) followedBy(message *assetdv1.FetchProgress) Progress {
	next := Progress{
		Phase:          message.GetPhase(),
		PresentBytes:   max(p.PresentBytes, message.GetPresentBytes()),
		PresentFiles:   max(p.PresentFiles, int(message.GetPresentFiles())),
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

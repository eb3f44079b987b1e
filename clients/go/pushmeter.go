package assetd

import "github.com/assetd/assetd/clients/go/assetdv1"

// PushPhase is what a push is doing.
type PushPhase int

// The phases, in their order.
const (
	// PushHashing: the source is read and hashed; of a push by Push nothing has been sent yet.
	PushHashing PushPhase = iota
	// PushSending: bytes that the store lacks go to the daemon; those that it has count as done.
	PushSending
	// PushStoring: the daemon writes them to the store. Sending and storing may go on at once.
	PushStoring
	// PushCommitting: the stored bytes are checked, and the version is made visible.
	PushCommitting
	pushPhases
)

// String returns the phase's name, such as SENDING.
func (p PushPhase) String() string {
	if p < 0 || p >= pushPhases {
		return "UNKNOWN"
	}
	return [pushPhases]string{"HASHING", "SENDING", "STORING", "COMMITTING"}[p]
}

// PushProgress tells how far a push is. No figure falls during one push.
type PushProgress struct {
	// Phase is what is being told of.
	Phase PushPhase
	// DoneBytes is how far this phase is, of TotalBytes.
	DoneBytes int64
	// SentBytes and StoredBytes are how far those two phases are, whichever this is of.
	SentBytes, StoredBytes int64
	// TotalBytes is the size of the version. Unknown until the daemon has looked at what it is
	// to find by itself.
	TotalBytes int64
}

// pushMeter turns hashing and the daemon's events into one progress.
type pushMeter struct {
	report          func(PushProgress)
	totalBytes      int64
	keptBytes       int64
	hashedHereBytes int64
	doneBytes       [pushPhases]int64
}

// furthest is a figure that rises whenever the daemon comes further in a phase than ever
// before. Each phase by itself: what arrives again has not come further, but what is stored
// then has, long before it makes up for all that had arrived in vain.
func (m *pushMeter) furthest() (sum int64) {
	for _, done := range m.doneBytes {
		sum += done
	}
	return sum - m.hashedHereBytes
}

// hashed notes that so many bytes of the source are hashed.
func (m *pushMeter) hashed(bytes int64) {
	m.hashedHereBytes = bytes
	m.note(PushHashing, bytes)
}

// lacks notes how much is about to be sent: the rest is done.
func (m *pushMeter) lacks(bytes int64) {
	m.keptBytes = m.totalBytes - bytes
	m.note(PushSending, m.keptBytes)
	m.note(PushStoring, m.keptBytes)
}

// observe notes what the daemon said.
func (m *pushMeter) observe(response *assetdv1.PushResponse) {
	if response.GetAccepted() != nil {
		// A new stream: what it keeps of the files is yet to be said.
		m.keptBytes = 0
	}
	progress := response.GetProgress()
	if progress == nil {
		return
	}
	if m.totalBytes == Unknown && progress.TotalBytes != nil {
		m.totalBytes = progress.GetTotalBytes()
	}
	switch progress.GetPhase() {
	case assetdv1.PushProgress_PHASE_RECEIVING:
		m.note(PushSending, m.keptBytes+progress.GetReceivedBytes())
		// Both go on at once, and the phase names but one.
		m.note(PushStoring, progress.GetStoredBytes())
	case assetdv1.PushProgress_PHASE_HASHING:
		m.note(PushHashing, progress.GetReceivedBytes())
	case assetdv1.PushProgress_PHASE_COMMITTING:
		m.note(PushCommitting, max(m.totalBytes, progress.GetStoredBytes()))
	default:
		m.note(PushStoring, progress.GetStoredBytes())
	}
}

func (m *pushMeter) note(phase PushPhase, bytes int64) {
	// After a cut the daemon counts from what it finds, which may be less.
	m.doneBytes[phase] = max(m.doneBytes[phase], bytes)
	if m.report == nil {
		return
	}
	m.report(PushProgress{
		Phase:       phase,
		DoneBytes:   m.doneBytes[phase],
		SentBytes:   m.doneBytes[PushSending],
		StoredBytes: m.doneBytes[PushStoring],
		TotalBytes:  m.totalBytes,
	})
}

//go:build linux || darwin

package assetd

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"
)

// Should a FIFO stand there, O_NONBLOCK keeps the open from hanging. O_NOFOLLOW: the daemon
// publishes no links, so that one is somebody else's doing.
const openVersion = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK |
	unix.O_NOCTTY

// lease is the kernel's word that this process uses a version: a shared flock on the version
// itself, which every evictor asks for in vain until the last process that has the descriptor
// is gone. It needs no daemon, and works across containers and on read-only mounts.
//
// It has begun only once begin says so: until then the version may just be on its way out.
type lease struct {
	descriptor int
	once       sync.Once
	ended      chan struct{}
	// Forgets the client, which would end the lease with itself.
	detach func() bool
}

// openLease opens the version at path and locks it, without waiting. It returns nil where
// nothing stands that this process may open, or where it is just being replaced or evicted.
func openLease(path string) *lease {
	descriptor, err := unix.Open(path, openVersion, 0)
	for err == unix.EINTR {
		descriptor, err = unix.Open(path, openVersion, 0)
	}
	if err != nil {
		return nil
	}
	if unix.Flock(descriptor, unix.LOCK_SH|unix.LOCK_NB) != nil {
		unix.Close(descriptor)
		return nil
	}
	return &lease{descriptor: descriptor, ended: make(chan struct{})}
}

// begin tells whether what is locked is what stands at path; with that the lease begins, and
// lasts no longer than life. To be asked last, after all other looks: what stands there now
// can neither be evicted nor replaced any more.
func (l *lease) begin(path string, life context.Context) bool {
	var ours, standing unix.Stat_t
	if unix.Fstat(l.descriptor, &ours) != nil || unix.Lstat(path, &standing) != nil ||
		ours.Ino != standing.Ino || ours.Dev != standing.Dev {
		return false
	}
	l.detach = context.AfterFunc(life, l.end)
	return true
}

func (l *lease) end() {
	l.once.Do(func() {
		unix.Close(l.descriptor)
		close(l.ended)
	})
}

func (l *lease) release() error {
	l.detach()
	l.end()
	return nil
}

func (l *lease) done() <-chan struct{} {
	return l.ended
}

//go:build linux || darwin

package assetd

import (
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Every folder and file is opened beneath the descriptor of the one above, and what is no
// plain file is refused before it is opened: opening a FIFO or a device does things. Should one
// take the file's place between look and open, O_NONBLOCK keeps the open from hanging.
const (
	openFile   = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	openFolder = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_DIRECTORY | unix.O_CLOEXEC
)

// listSource looks at every file of a file or folder, opening none, and at nothing that is
// excluded. It fails with ReasonUnsupportedFile for links, hard links, devices, FIFOs and
// sockets; with ReasonInvalidPart for empty folders and names that no asset can have, or if
// nothing is left; with ReasonInvalidField for globs and a file; and as the system does.
func listSource(root string, exclude globs) (*source, error) {
	var status unix.Stat_t
	if err := unix.Lstat(root, &status); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: root, Err: err}
	}
	if !isFolder(&status) {
		if len(exclude) > 0 {
			return nil, notAFolder(root)
		}
		file, err := plainFile(root, "", &status)
		return &source{root: root, files: []sourceFile{file}}, err
	}
	folder, err := openAt(unix.AT_FDCWD, root, openFolder)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	listed := &source{root: root, isFolder: true, exclude: exclude}
	if err := listed.walk(folder, ""); err != nil {
		return nil, err
	}
	if len(listed.files) == 0 {
		return nil, invalid(root, "", "has no file that is not excluded")
	}
	slices.SortFunc(listed.files, func(one, other sourceFile) int {
		return strings.Compare(one.path, other.path)
	})
	return listed, nil
}

// walk adds all files of the folder, whose descriptor it closes.
func (s *source) walk(folder int, prefix string) error {
	directory := os.NewFile(uintptr(folder), shown(s.root, prefix))
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		// The store keeps files only: the folder would silently be missing in the version.
		return invalid(s.root, prefix, "is an empty folder")
	}
	for _, name := range names {
		if err := s.add(folder, prefix, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) add(folder int, prefix, name string) error {
	path := prefix + name
	var status unix.Stat_t
	if err := unix.Fstatat(folder, name, &status, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "lstat", Path: shown(s.root, path), Err: err}
	}
	isFolder := isFolder(&status)
	if isFolder && s.exclude.matchAllBelow(path) || !isFolder && s.exclude.match(path) {
		return nil
	}
	if err := checkPath(s.root, path); err != nil {
		return err
	}
	if !isFolder {
		file, err := plainFile(s.root, path, &status)
		s.files = append(s.files, file)
		return err
	}
	below, err := openAt(folder, name, openFolder)
	if err != nil {
		return &os.PathError{Op: "open", Path: shown(s.root, path), Err: err}
	}
	return s.walk(below, path+"/")
}

func checkPath(root, path string) error {
	if !utf8.ValidString(path) {
		return invalid(root, path, "has a name that is not UTF-8")
	}
	if len(path) > maxPathBytes {
		return invalid(root, path, "has a path of more than 1024 bytes")
	}
	return nil
}

var kinds = map[uint32]string{
	unix.S_IFLNK:  "a symlink",
	unix.S_IFIFO:  "a FIFO",
	unix.S_IFSOCK: "a socket",
	unix.S_IFBLK:  "a device",
	unix.S_IFCHR:  "a device",
}

func plainFile(root, path string, status *unix.Stat_t) (sourceFile, error) {
	if !isRegular(status) {
		kind, known := kinds[uint32(status.Mode)&unix.S_IFMT]
		if !known {
			kind = "no plain file"
		}
		return sourceFile{}, unsupported(root, path, kind)
	}
	if status.Nlink > 1 {
		return sourceFile{}, unsupported(root, path, "a hard link")
	}
	return sourceFile{path, status.Size, stateOf(status)}, nil
}

func stateOf(status *unix.Stat_t) fileState {
	return fileState{
		device:    uint64(status.Dev),
		inode:     status.Ino,
		sizeBytes: status.Size,
		modified:  status.Mtim.Nano(),
		// Not even somebody who sets the file's times can set this one.
		changed: status.Ctim.Nano(),
	}
}

// read gives take the file's bytes from offset on, each time as many as buffer returns room
// for. It fails with ReasonSourceChanged if what stands there is not, or while it was read did
// not stay, what was listed; and as take does.
func (s *source) read(
	file sourceFile, offset int64, buffer func() []byte, take func([]byte) error,
) error {
	descriptor, err := openBeneath(s.root, file.path)
	if err != nil {
		return changed(s.root, file.path)
	}
	opened := os.NewFile(uintptr(descriptor), shown(s.root, file.path))
	defer opened.Close()
	if err := s.compare(descriptor, file); err != nil {
		return err
	}
	adviseSequential(descriptor)
	for offset < file.sizeBytes {
		room := buffer()
		data := room[:min(int64(len(room)), file.sizeBytes-offset)]
		count, err := opened.ReadAt(data, offset)
		if count == 0 && err == io.EOF {
			return changed(s.root, file.path)
		}
		if count == 0 {
			return localFailure{err}
		}
		if err := take(data[:count]); err != nil {
			return err
		}
		offset += int64(count)
	}
	return s.compare(descriptor, file)
}

func (s *source) compare(descriptor int, file sourceFile) error {
	var status unix.Stat_t
	if unix.Fstat(descriptor, &status) != nil || stateOf(&status) != file.state {
		return changed(s.root, file.path)
	}
	return nil
}

// openBeneath opens a file asset, or one file of a folder, each folder beneath the one above.
func openBeneath(root, path string) (int, error) {
	if path == "" {
		return openAt(unix.AT_FDCWD, root, openFile)
	}
	folder, err := openAt(unix.AT_FDCWD, root, openFolder)
	for err == nil {
		name, rest, isBelow := strings.Cut(path, "/")
		flags := openFile
		if isBelow {
			flags = openFolder
		}
		var below int
		below, err = openAt(folder, name, flags)
		unix.Close(folder)
		if !isBelow {
			return below, err
		}
		folder, path = below, rest
	}
	return -1, err
}

func openAt(folder int, name string, flags int) (int, error) {
	for {
		descriptor, err := unix.Openat(folder, name, flags, 0)
		if err != unix.EINTR {
			return descriptor, err
		}
	}
}

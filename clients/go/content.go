package assetd

import (
	"fmt"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

const filesPerMessage = 1000

// turn is what the client has to say until the daemon answers: it sends by the function.
type turn func(send func(*assetdv1.PushRequest) error) error

// content is what a push is of: files that this process reads, or bytes that the daemon finds
// by itself.
type content interface {
	// batches returns what is to be announced, a message each.
	batches() []*assetdv1.PushFiles
	// wanted adds up how many bytes travel if that is wanted, if any ever do. It fails with
	// ReasonInternal if something is wanted that was not announced.
	wanted(parts []*assetdv1.PushWanted_Part) (bytes int64, travel bool, err error)
	// last returns the chunks of what is wanted, and the commit.
	last(parts []*assetdv1.PushWanted_Part) turn
	// checkUnchanged compares the source with what was hashed.
	checkUnchanged() error
}

// localContent is a source that was hashed; unless it is sent it is announced, and no byte of
// it travels.
type localContent struct {
	*source
	digests *digests
	isSent  bool
	byPath  map[string]sourceFile
}

func newLocalContent(source *source, digests *digests, isSent bool) *localContent {
	byPath := make(map[string]sourceFile, len(source.files))
	for _, file := range source.files {
		byPath[file.path] = file
	}
	return &localContent{source, digests, isSent, byPath}
}

func (c *localContent) batches() (batches []*assetdv1.PushFiles) {
	for position, file := range c.files {
		if position%filesPerMessage == 0 {
			batches = append(batches, &assetdv1.PushFiles{})
		}
		batch := batches[len(batches)-1]
		batch.Files = append(batch.Files, &assetdv1.PushFile{
			Path: file.path, SizeBytes: file.sizeBytes, Digest: c.digests.files[file.path],
		})
	}
	return batches
}

func (c *localContent) wanted(
	parts []*assetdv1.PushWanted_Part,
) (bytes int64, travel bool, err error) {
	for _, part := range parts {
		file, known := c.byPath[part.GetPath()]
		if !known {
			return 0, false, ownError(ReasonInternal, fmt.Sprintf(
				"the daemon wants %q, which was not announced", part.GetPath()))
		}
		bytes += file.sizeBytes - part.GetOffset()
	}
	return bytes, c.isSent, nil
}

func (c *localContent) last(parts []*assetdv1.PushWanted_Part) turn {
	return func(send func(*assetdv1.PushRequest) error) error {
		for _, part := range parts {
			if !c.isSent {
				break
			}
			if err := c.sendFile(c.byPath[part.GetPath()], part.GetOffset(), send); err != nil {
				return err
			}
		}
		if err := c.checkUnchanged(); err != nil {
			return err
		}
		return send(commit(c.digests.digest))
	}
}

func (c *localContent) sendFile(
	file sourceFile, offset int64, send func(*assetdv1.PushRequest) error,
) error {
	// A new buffer for each chunk: interceptors may keep a message that was sent.
	buffer := func() []byte { return make([]byte, min(readBytes, file.sizeBytes-offset)) }
	return c.read(file, offset, buffer, func(data []byte) error {
		chunk := &assetdv1.PushChunk{Path: file.path, Offset: offset, Data: data}
		offset += int64(len(data))
		return send(&assetdv1.PushRequest{Step: &assetdv1.PushRequest_Chunk{Chunk: chunk}})
	})
}

// foundContent is what the daemon finds where the header says: nothing is announced, and
// nothing travels.
type foundContent struct{}

func (foundContent) batches() []*assetdv1.PushFiles {
	return nil
}

func (foundContent) wanted([]*assetdv1.PushWanted_Part) (int64, bool, error) {
	return 0, false, nil
}

// The digest of the commit is for the daemon to find.
func (foundContent) last([]*assetdv1.PushWanted_Part) turn {
	return func(send func(*assetdv1.PushRequest) error) error { return send(commit("")) }
}

func (foundContent) checkUnchanged() error {
	return nil
}

func commit(digest string) *assetdv1.PushRequest {
	return &assetdv1.PushRequest{Step: &assetdv1.PushRequest_Commit{
		Commit: &assetdv1.PushCommit{Digest: digest},
	}}
}

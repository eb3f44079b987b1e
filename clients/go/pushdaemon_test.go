package assetd

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

type pushed = grpc.BidiStreamingServer[assetdv1.PushRequest, assetdv1.PushResponse]

// pushScript is what the daemon does with one call of Push.
type pushScript func(pushed) error

// pushes are the daemon's side of pushes: one script a call, and then the contract.
type pushes struct {
	pushScripts []pushScript
	headers     []*assetdv1.PushHeader
	records     []*pushRecord
	// What is wanted of a file; nil: all of it.
	wants func(*assetdv1.PushFile) *assetdv1.PushWanted_Part
}

// pushRecord is what one push that went well has brought.
type pushRecord struct {
	header   *assetdv1.PushHeader
	batches  []int
	files    []*assetdv1.PushFile
	contents map[string][]byte
	chunks   []int
	digest   string
}

func (d *daemon) Push(stream pushed) error {
	d.mutex.Lock()
	d.open++
	var script pushScript = d.followContract
	if len(d.pushScripts) > 0 {
		script, d.pushScripts = d.pushScripts[0], d.pushScripts[1:]
	}
	d.mutex.Unlock()
	defer d.leave()
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	d.mutex.Lock()
	d.headers = append(d.headers, request.GetHeader())
	d.mutex.Unlock()
	return script(stream)
}

func (d *daemon) followContract(stream pushed) error {
	record := &pushRecord{header: d.headers[len(d.headers)-1], contents: map[string][]byte{}}
	if err := stream.Send(accepted()); err != nil {
		return err
	}
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the push was not committed")
		}
		if err != nil {
			return err
		}
		switch step := request.GetStep().(type) {
		case *assetdv1.PushRequest_Files:
			if err := stream.Send(d.answerFiles(record, step.Files)); err != nil {
				return err
			}
		case *assetdv1.PushRequest_Chunk:
			if err := record.add(step.Chunk); err != nil {
				return err
			}
		case *assetdv1.PushRequest_Commit:
			record.digest = step.Commit.GetDigest()
			d.records = append(d.records, record)
			return stream.Send(pushCompleted())
		}
	}
}

func (d *daemon) answerFiles(
	record *pushRecord, files *assetdv1.PushFiles,
) *assetdv1.PushResponse {
	record.batches = append(record.batches, len(files.GetFiles()))
	record.files = append(record.files, files.GetFiles()...)
	answer := &assetdv1.PushWanted{}
	for _, file := range files.GetFiles() {
		part := &assetdv1.PushWanted_Part{Path: file.GetPath()}
		if d.wants != nil {
			part = d.wants(file)
		}
		if part != nil {
			answer.Parts = append(answer.Parts, part)
		}
	}
	return &assetdv1.PushResponse{Event: &assetdv1.PushResponse_Wanted{Wanted: answer}}
}

func (r *pushRecord) add(chunk *assetdv1.PushChunk) error {
	known := r.contents[chunk.GetPath()]
	if len(known) > 0 && int64(len(known)) != chunk.GetOffset() {
		return fmt.Errorf("a chunk at %d follows %d bytes", chunk.GetOffset(), len(known))
	}
	if len(known) == 0 {
		known = make([]byte, chunk.GetOffset())
	}
	r.contents[chunk.GetPath()] = append(known, chunk.GetData()...)
	r.chunks = append(r.chunks, len(chunk.GetData()))
	return nil
}

func accepted() *assetdv1.PushResponse {
	return &assetdv1.PushResponse{Event: &assetdv1.PushResponse_Accepted{
		Accepted: &assetdv1.PushAccepted{Version: "1.3", VersionFinal: true},
	}}
}

func pushCompleted() *assetdv1.PushResponse {
	return &assetdv1.PushResponse{Event: &assetdv1.PushResponse_Completed{
		Completed: &assetdv1.PushCompleted{
			AssetVersion: &assetdv1.AssetVersion{
				Name: "nlp/ranker", Version: "1.3", Digest: "sha256:cd", PushedBy: "me",
				Labels: map[string]string{"a": "b"},
			},
			AlreadyExisted: true,
		},
	}}
}

func tell(phase assetdv1.PushProgress_Phase, received, stored int64) *assetdv1.PushResponse {
	return &assetdv1.PushResponse{Event: &assetdv1.PushResponse_Progress{
		Progress: &assetdv1.PushProgress{Phase: phase, ReceivedBytes: received, StoredBytes: stored},
	}}
}

// ends is a push that fails right after its header.
func ends(failure error) pushScript {
	return func(stream pushed) error {
		if err := stream.Send(accepted()); err != nil {
			return err
		}
		return failure
	}
}

// only returns the one push that went well.
func (d *daemon) only(t *testing.T) *pushRecord {
	t.Helper()
	if len(d.records) != 1 {
		t.Fatalf("%d pushes went well", len(d.records))
	}
	return d.records[0]
}

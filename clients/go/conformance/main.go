// The command conformance does what the conformance suite asks, on the public helper alone: one
// JSON object a line on standard input and output, the daemon by ASSETD_ADDRESS. It knows
// nothing of what is expected.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/assetd/assetd/clients/go"
)

func main() {
	client, err := assetd.New("")
	if err == nil {
		err = serve(client, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve does what the requests ask, until they end or say so, and returns when nothing goes on
// any more. It closes the client. It fails if a request is none, an answer cannot be written, or
// the client cannot be closed.
func serve(client *assetd.Client, requests io.Reader, answers io.Writer) error {
	runner := &runner{
		client: client, output: json.NewEncoder(answers), running: make(map[string]*action),
	}
	runner.write(fields{"ready": fields{"language": "go", "fast_path": true}})
	unread := runner.readAll(bufio.NewReader(requests))
	unclosed := runner.endAll()
	return errors.Join(unread, unclosed, runner.unwritten)
}

// fields are one JSON object of an answer.
type fields map[string]any

// runner has the actions that go on.
type runner struct {
	client *assetd.Client

	mutex  sync.Mutex
	output *json.Encoder
	// Why an answer could not be written. To be read once nothing goes on any more.
	unwritten error
	running   map[string]*action
	group     sync.WaitGroup
}

// action is one request that goes on, or what it holds.
type action struct {
	request
	context.Context
	cancel context.CancelFunc
	// Closed by a release.
	released chan struct{}
	once     sync.Once
}

func (r *runner) readAll(lines *bufio.Reader) error {
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			var next request
			if err := json.Unmarshal(line, &next); err != nil {
				return fmt.Errorf("%q is no request: %w", line, err)
			}
			if next.Do == "close" {
				return nil
			}
			r.take(next)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *runner) take(next request) {
	switch next.Do {
	case "cancel":
		if of := r.find(next.Of); of != nil {
			of.cancel()
		}
	case "release":
		if of := r.find(next.Of); of != nil {
			of.once.Do(func() { close(of.released) })
		}
	default:
		r.start(next)
		return
	}
	if next.ID != "" {
		r.write(fields{"id": next.ID, "answer": fields{}})
	}
}

func (r *runner) find(id string) *action {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.running[id]
}

func (r *runner) start(next request) {
	ctx, cancel := context.WithCancel(context.Background())
	begun := &action{request: next, Context: ctx, cancel: cancel, released: make(chan struct{})}
	r.mutex.Lock()
	r.running[next.ID] = begun
	r.mutex.Unlock()
	r.group.Add(1)
	go func() {
		defer r.group.Done()
		defer cancel()
		r.perform(begun)
		r.mutex.Lock()
		delete(r.running, next.ID)
		r.mutex.Unlock()
	}()
}

// perform writes how the action ends.
func (r *runner) perform(begun *action) {
	perform, known := performers[begun.Do]
	if !known {
		perform = func(*runner, *action) (fields, error) {
			return nil, fmt.Errorf("there is no action %q", begun.Do)
		}
	}
	answer, err := perform(r, begun)
	if err != nil {
		r.write(fields{"id": begun.ID, "error": shownError(err)})
		return
	}
	if answer != nil {
		r.write(fields{"id": begun.ID, "answer": answer})
	}
}

func (r *runner) endAll() error {
	r.mutex.Lock()
	for _, action := range r.running {
		action.cancel()
	}
	r.mutex.Unlock()
	r.group.Wait()
	return r.client.Close()
}

func (r *runner) write(line fields) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err := r.output.Encode(line); err != nil && r.unwritten == nil {
		r.unwritten = err
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/assetd/assetd/clients/go"
	"github.com/assetd/assetd/clients/go/internal/realdaemon"
)

// suite speaks with a runner as the conformance suite does.
type suite struct {
	t        *testing.T
	requests *io.PipeWriter
	answers  *bufio.Reader
	ended    chan error
}

func begin(t *testing.T, address string) *suite {
	client, err := assetd.New(address)
	if err != nil {
		t.Fatal(err)
	}
	requestsRead, requests := io.Pipe()
	answers, answersWritten := io.Pipe()
	suite := &suite{t, requests, bufio.NewReader(answers), make(chan error, 1)}
	go func() {
		err := serve(client, requestsRead, answersWritten)
		answersWritten.Close()
		suite.ended <- err
	}()
	suite.expect(map[string]any{"ready": map[string]any{"language": "go", "fast_path": true}})
	return suite
}

func (s *suite) say(line string) {
	if _, err := io.WriteString(s.requests, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) hear() map[string]any {
	s.t.Helper()
	line, err := s.answers.ReadBytes('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	var heard map[string]any
	if err := json.Unmarshal(line, &heard); err != nil {
		s.t.Fatal(err)
	}
	return heard
}

// end returns what an action ends with, past its progress.
func (s *suite) end(id, kind string) map[string]any {
	s.t.Helper()
	for {
		heard := s.hear()
		if _, isProgress := heard["progress"]; isProgress && heard["id"] == id {
			continue
		}
		fields, ok := heard[kind].(map[string]any)
		if heard["id"] != id || !ok {
			s.t.Fatalf("want the %s of %s, got %v", kind, id, heard)
		}
		return fields
	}
}

func (s *suite) expect(want map[string]any) {
	s.t.Helper()
	if got := s.hear(); !reflect.DeepEqual(got, want) {
		s.t.Fatalf("got %v, want %v", got, want)
	}
}

func (s *suite) require(got map[string]any, wanted ...any) {
	s.t.Helper()
	for position := 0; position < len(wanted); position += 2 {
		if name := wanted[position].(string); !reflect.DeepEqual(got[name], wanted[position+1]) {
			s.t.Errorf("%s is %v, and should be %v, in %v", name, got[name], wanted[position+1], got)
		}
	}
}

func TestTheRunner(t *testing.T) {
	daemon := realdaemon.Start(t)
	source := filepath.Join(t.TempDir(), "model")
	if err := errors.Join(os.Mkdir(source, 0o755), os.WriteFile(filepath.Join(source, "a"), []byte("aaa"), 0o644)); err != nil {
		t.Fatal(err)
	}
	suite := begin(t, daemon.Address)
	quoted, _ := json.Marshal(source)

	suite.say(`{"id":"p","do":"push","source":` + string(quoted) + `,"spec":"nlp/ranker","mode":"NEW","bump":"MAJOR","labels":{"a":"b"}}`)
	pushed := suite.end("p", "answer")
	suite.require(pushed, "name", "nlp/ranker", "already_existed", false)
	spec := "nlp/ranker:" + pushed["version"].(string)

	suite.say(`{"id":"r","do":"resolve","spec":"nlp/ranker","freshness":"STORE","store_timeout":60}`)
	suite.require(suite.end("r", "answer"), "version", pushed["version"], "presence", "ABSENT")
	suite.say(`{"id":"h","do":"hold","spec":"nlp/ranker","progress_interval":0.05,"timeout":60}`)
	suite.require(suite.end("h", "answer"), "source", "STORE", "kind", "DIRECTORY", "size_bytes", 3.0, "transferred_bytes", 3.0, "digest", pushed["digest"])
	suite.say(`{"id":"f","do":"fetch","spec":"` + spec + `","verify":true}`)
	suite.require(suite.end("f", "answer"), "source", "CACHE", "path", filepath.Join(daemon.AssetsDir, "nlp/ranker", pushed["version"].(string)))
	suite.say(`{"do":"release","of":"h"}`)

	suite.say(`{"id":"l","do":"list","prefix":"nlp/","scope":"ALL","full":true,"limit":1}`)
	suite.require(suite.end("l", "entry"), "spec", spec, "presence", "PRESENT")
	suite.require(suite.end("l", "answer"), "count", 1.0)
	suite.say(`{"id":"i","do":"list_files","spec":"` + spec + `","include":["*"],"page_size":1}`)
	suite.require(suite.end("i", "entry"), "path", "a", "size_bytes", 3.0)
	suite.require(suite.end("i", "answer"), "count", 1.0)

	suite.say(`{"id":"e","do":"fetch","spec":"no/such"}`)
	missing := suite.end("e", "error")
	suite.require(missing, "reason", "ASSET_NOT_FOUND", "code", "NOT_FOUND")
	suite.require(missing["metadata"].(map[string]any), "name", "no/such")
	suite.say(`{"id":"d","do":"resolve","spec":"nlp/ranker","timeout":0}`)
	suite.require(suite.end("d", "error"), "reason", "DEADLINE_EXCEEDED", "code", "DEADLINE_EXCEEDED")
	suite.say(`{"id":"x","do":"dance"}`)
	suite.require(suite.end("x", "error"), "reason", "", "code", "UNKNOWN")

	suite.say(`{"id":"c","do":"hold","spec":"nlp/ranker"}`)
	suite.end("c", "answer")
	suite.say(`{"do":"cancel","of":"c"}`)
	suite.require(suite.end("c", "error"), "reason", "CANCELLED")
	suite.say(`{"id":"z","do":"release","of":"nothing"}`)
	suite.require(suite.end("z", "answer"))
	suite.say(`{"do":"close"}`)
	if err := <-suite.ended; err != nil {
		t.Error(err)
	}
}

func TestTheRunnerEndsWithItsRequests(t *testing.T) {
	suite := begin(t, "unix:///nowhere/assetd.sock")
	suite.say(`{"id":"f","do":"fetch","spec":"nlp/ranker"}`)
	suite.requests.Close()
	suite.require(suite.end("f", "error"), "reason", "CANCELLED")
	if err := <-suite.ended; err != nil {
		t.Error(err)
	}
	suite = begin(t, "unix:///nowhere/assetd.sock")
	suite.say("moths")
	if err := <-suite.ended; err == nil || !strings.Contains(err.Error(), "moths") {
		t.Errorf("got %v", err)
	}
}

// A suite that hears nothing must be told by the status.
func TestTheRunnerFailsIfItCannotAnswer(t *testing.T) {
	client, err := assetd.New("unix:///nowhere/assetd.sock")
	if err != nil {
		t.Fatal(err)
	}
	_, answers := io.Pipe()
	answers.Close()
	if err := serve(client, strings.NewReader(""), answers); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

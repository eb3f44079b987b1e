package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeModel makes a folder with a model of one tensor and three tokens.
func writeModel(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	header := `{"a/b": {"dtype": "U8", "shape": [1, 2], "data_offsets": [0, 2]}}`
	for name, content := range map[string][]byte{
		"model.safetensors": file(header, 2),
		"vocab.txt":         []byte("[PAD]\nsun\n##shine/1\n"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestWhatIsAnswered(t *testing.T) {
	model, err := OpenModel(writeModel(t))
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	isHeld := true
	handler := newHandler("nlp/x:0.1", model, func() bool { return isHeld })
	facts := `{"name":"a/b","dtype":"U8","shape":[1,2],"bytes":2`
	for _, asked := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/healthz", 200, `{"asset":"nlp/x:0.1","status":"ok"}`},
		{"GET", "/tensors", 200, `{"asset":"nlp/x:0.1","tensors":[` + facts + `}]}`},
		// The hash of the bytes 0 and 1, by sha256sum.
		{"GET", "/tensors/a%2Fb", 200, facts +
			`,"sha256":"b413f47d13ee2fe6c845b2ee141af81de858df4ec549a58b7970bb96645bc8d2"}`},
		{"GET", "/tensors/a", 404, `{"error":"there is no such tensor"}`},
		{"GET", "/tokens/sun", 200, `{"id":1,"token":"sun"}`},
		{"GET", "/tokens/%23%23shine%2F1", 200, `{"id":2,"token":"##shine/1"}`},
		{"GET", "/tokens/Sun", 404, `{"error":"there is no such token"}`},
		{"POST", "/tensors", 405, "Method Not Allowed"},
	} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(asked.method, asked.path, nil))
		body := strings.TrimSuffix(recorder.Body.String(), "\n")
		if recorder.Code != asked.status || body != asked.body {
			t.Errorf("%s %s: %d %s", asked.method, asked.path, recorder.Code, body)
		}
	}
	isHeld = false
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest("GET", "/healthz", nil))
	if recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("without a hold: %d", recorder.Code)
	}
}

func TestATensorThatCannotBeReadIsAnError(t *testing.T) {
	model, err := OpenModel(writeModel(t))
	if err != nil {
		t.Fatal(err)
	}
	model.Close()
	recorder := httptest.NewRecorder()
	handler := newHandler("nlp/x:0.1", model, func() bool { return true })
	handler.ServeHTTP(recorder, httptest.NewRequest("GET", "/tensors/a%2Fb", nil))
	if recorder.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", recorder.Code, recorder.Body)
	}
}

func TestFoldersThatHoldNoModelAreRefused(t *testing.T) {
	for name, content := range map[string]string{
		"vocab.txt": "the\nthe\n", "model.safetensors": "no tensors",
	} {
		folder := writeModel(t)
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if model, err := OpenModel(folder); err == nil {
			t.Errorf("damaged %s: %v", name, model)
		}
		os.Remove(path)
		if model, err := OpenModel(folder); !os.IsNotExist(err) {
			t.Errorf("without %s: %v, %v", name, model, err)
		}
	}
}

func TestAVocabularyGivesEachTokenItsLine(t *testing.T) {
	vocabulary, err := ReadVocabulary(strings.NewReader("[PAD]\nthe\n##s"))
	if err != nil || len(vocabulary) != 3 || vocabulary["the"] != 1 || vocabulary["##s"] != 2 {
		t.Errorf("%v, %v", vocabulary, err)
	}
	if _, err := ReadVocabulary(strings.NewReader("a\nb\na\n")); err == nil ||
		err.Error() != `vocabulary: "a" has two ids, 0 and 2` {
		t.Error(err)
	}
	if _, err := ReadVocabulary(strings.NewReader(strings.Repeat("x", 1<<20))); err == nil {
		t.Error("a token of a mebibyte")
	}
}

// lines hands on what is written to it, a line at a time.
type lines chan string

func (l lines) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		l <- strings.TrimSuffix(string(line), "\n")
	}
	return len(text), nil
}

func TestWhatIsBeingAnsweredIsAnsweredBeforeTheEnd(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	asked, goOn := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-goOn
		answer(w, "done")
	})
	output, ended := make(lines, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, "127.0.0.1:0", handler, output) }()
	_, url, _ := strings.Cut(<-output, "serves ")
	status := make(chan int, 1)
	go func() {
		// Not by a proxy that the environment names.
		client := http.Client{Transport: &http.Transport{}}
		response, err := client.Get(url)
		if err != nil {
			t.Error(err)
			close(status)
			return
		}
		response.Body.Close()
		status <- response.StatusCode
	}()
	<-asked
	end()
	close(goOn)
	if got := <-status; got != http.StatusOK {
		t.Errorf("%d", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatIsTakenIsAnError(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	address := taken.Listener.Addr().String()
	if err := serve(t.Context(), address, http.NotFoundHandler(), make(lines, 1)); err == nil {
		t.Error("it served")
	}
}

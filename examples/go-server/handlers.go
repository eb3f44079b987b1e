package main

import (
	"encoding/json"
	"log"
	"net/http"
)

// newHandler answers for a model. isHeld tells whether assetd keeps its files for us.
func newHandler(asset string, model *Model, isHeld func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !isHeld() {
			// The files may go: whoever looks restarts us.
			fail(w, http.StatusServiceUnavailable, "the model is no longer held")
			return
		}
		answer(w, map[string]string{"status": "ok", "asset": asset})
	})
	mux.HandleFunc("GET /tensors", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"asset": asset, "tensors": model.Weights.Tensors()})
	})
	mux.HandleFunc("GET /tensors/{name}", func(w http.ResponseWriter, r *http.Request) {
		tensor, found := model.Weights.Tensor(r.PathValue("name"))
		if !found {
			fail(w, http.StatusNotFound, "there is no such tensor")
			return
		}
		hash, err := model.Weights.SHA256(tensor)
		if err != nil {
			log.Printf("%s: %v", tensor.Name, err)
			fail(w, http.StatusInternalServerError, "its bytes cannot be read")
			return
		}
		answer(w, struct {
			Tensor
			SHA256 string `json:"sha256"`
		}{tensor, hash})
	})
	mux.HandleFunc("GET /tokens/{word}", func(w http.ResponseWriter, r *http.Request) {
		word := r.PathValue("word")
		id, found := model.Vocabulary[word]
		if !found {
			fail(w, http.StatusNotFound, "there is no such token")
			return
		}
		answer(w, map[string]any{"token": word, "id": id})
	})
	return mux
}

func answer(w http.ResponseWriter, body any) {
	write(w, http.StatusOK, body)
}

func fail(w http.ResponseWriter, status int, message string) {
	write(w, status, map[string]string{"error": message})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Whoever asked may have gone, which is none of our failures.
	_ = json.NewEncoder(w).Encode(body)
}

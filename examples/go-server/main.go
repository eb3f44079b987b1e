// The command go-server is a model server: facts about the tensors of a model and a look-up in
// its vocabulary, over HTTP, from a model that assetd keeps on this node.
//
// Usage:
//
//	go-server [-asset nlp/minilm:0] [-listen 127.0.0.1:8002]
//
// The model is held for as long as the server runs: whoever needs room on this node meanwhile,
// the cache does not take it from under us. SIGTERM ends it once what is being answered has been.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/assetd/assetd/clients/go"
)

const (
	name = "go-server"
	// How long what is being answered may take once we are to end.
	drainTime = 10 * time.Second
)

// patience is long: in a pod the daemon may start after us.
var patience = assetd.RetryPolicy{Patience: time.Minute, ConnectPatience: time.Minute}

func main() {
	spec := flag.String("asset", "nlp/minilm:0", "what to serve")
	address := flag.String("listen", "127.0.0.1:8002", "where; port 0 takes a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *spec, *address, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// run fetches, holds and serves until ctx ends.
func run(ctx context.Context, spec, address string, output io.Writer) error {
	client, err := assetd.New("", assetd.WithCaller(name), assetd.WithRetryPolicy(patience))
	if err != nil {
		return err
	}
	defer client.Close()
	asset, err := client.Fetch(ctx, spec, assetd.WithHold())
	if errors.Is(err, context.Canceled) {
		return nil
	} else if err != nil {
		return err
	}
	defer asset.Close()
	fmt.Fprintf(output, "%s: got asset=%s:%s source=%s transferred=%d joined=%t path=%s\n",
		name, asset.Name, asset.Version,
		strings.ToLower(strings.TrimPrefix(asset.Source.String(), "SOURCE_")),
		asset.TransferredBytes, asset.Joined, asset.Path)
	model, err := OpenModel(asset.Path)
	if err != nil {
		return err
	}
	defer model.Close()
	handler := newHandler(asset.Name+":"+asset.Version, model, asset.IsHeld)
	return serve(ctx, address, handler, output)
}

// serve answers until ctx ends, and then what is being answered.
func serve(ctx context.Context, address string, handler http.Handler, output io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: drainTime,
		IdleTimeout:       time.Minute,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	fmt.Fprintf(output, "%s: serves http://%s\n", name, listener.Addr())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	return server.Shutdown(drain)
}

package assetd_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/assetd/assetd/clients/go"
	"github.com/assetd/assetd/clients/go/assetdv1"
)

// A model server fetches its model when it starts, and holds it for as long as it runs.
func Example() {
	client, err := assetd.New("", assetd.WithCaller("ranker-server"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	model, err := client.Fetch(ctx, "nlp/ranker:1", assetd.WithHold())
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println("serving", model.Version, "from", model.Path)
}

// Progress goes wherever the program wants it.
func ExampleWithProgress() {
	client, err := assetd.New("unix:///run/assetd/assetd.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	model, err := client.Fetch(context.Background(), "nlp/ranker",
		assetd.WithProgress(func(progress assetd.Progress) {
			fmt.Fprintf(os.Stderr, "%d of %d bytes\n", progress.PresentBytes, progress.TotalBytes)
		}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.Path)
}

// A reason tells exactly what happened, a code what class of failure it is.
func ExampleError() {
	client, err := assetd.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.Fetch(context.Background(), "nlp/ranker:7")
	var failure *assetd.Error
	switch {
	case errors.Is(err, assetd.ReasonVersionNotFound):
		fmt.Println("there is no such version")
	case errors.As(err, &failure) && failure.Code == codes.ResourceExhausted:
		fmt.Println("try again in", failure.RetryAfter)
	case err != nil:
		log.Fatal(err)
	}
}

// A listing asks for the next page when it is wanted.
func ExampleClient_List() {
	client, err := assetd.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for entry, err := range client.List(context.Background(), "nlp/", assetd.WithLatestOnly()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.GetAssetVersion().GetName(), entry.GetAssetVersion().GetVersion())
	}
}

// A push is continued where it was after a cut; by its id also after the end of this process.
func ExampleClient_Push() {
	client, err := assetd.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	pushed, err := client.Push(context.Background(), "model/", "nlp/ranker",
		assetd.WithMode(assetd.ModeUpdate), assetd.WithExclude("**/*.tmp"),
		assetd.WithLabels(map[string]string{"trained-by": "nightly"}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pushed.Version, pushed.Digest)
}

// What has no helper is called by its generated stub, over the same connection.
func ExampleClient_Connection() {
	client, err := assetd.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	cache := assetdv1.NewCacheServiceClient(client.Connection())
	status, err := cache.GetCacheStatus(context.Background(), &assetdv1.GetCacheStatusRequest{})
	if err != nil {
		log.Fatal(assetd.FromError(err))
	}
	fmt.Println(status.GetUsedBytes(), "bytes in", status.GetAssetsDir())
}

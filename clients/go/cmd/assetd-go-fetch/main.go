// The command assetd-go-fetch fetches one asset and hashes what it got.
//
// Usage:
//
//	assetd-go-fetch [-address ADDRESS] [-expected-digest DIGEST] SPEC
//
// Standard output has two lines, the path and the digest; progress goes to standard error.
// The version is held while it is hashed. The exit status is 0, or 1 after a failure, 2 when
// the command line is wrong, 130 after an interrupt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/assetd/assetd/clients/go"
)

const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("assetd-go-fetch", flag.ContinueOnError)
	flags.SetOutput(stderr)
	address := flags.String("address", "", "where the daemon is; default: ASSETD_ADDRESS")
	expected := flags.String("expected-digest", "", "the digest that the version must have")
	if flags.Parse(arguments) != nil {
		return exitUsage
	}
	if flags.NArg() != 1 {
		fmt.Fprintln(stderr, "usage: assetd-go-fetch [-address ADDRESS] [-expected-digest DIGEST] SPEC")
		return exitUsage
	}
	path, digest, err := fetch(ctx, *address, flags.Arg(0),
		assetd.WithExpectedDigest(*expected), assetd.WithProgress(printer(stderr)))
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case err != nil:
		fmt.Fprintln(stderr, err)
		return exitFailure
	}
	fmt.Fprintf(stdout, "%s\n%s\n", path, digest)
	return 0
}

func fetch(
	ctx context.Context, address, spec string, options ...assetd.FetchOption,
) (path, digest string, err error) {
	client, err := assetd.New(address, assetd.WithCaller("assetd-go-fetch"))
	if err != nil {
		return "", "", err
	}
	defer client.Close()
	asset, err := client.Fetch(ctx, spec, append(options, assetd.WithHold())...)
	if err != nil {
		return "", "", err
	}
	defer asset.Close()
	digest, err = assetd.Digest(ctx, asset.Path)
	return asset.Path, digest, err
}

// printer returns a report that writes one line a message: "downloading 1024/4096 bytes".
func printer(stderr io.Writer) func(assetd.Progress) {
	return func(progress assetd.Progress) {
		phase := strings.TrimPrefix(progress.Phase.String(), "FETCH_PHASE_")
		total := "?"
		if progress.TotalBytes != assetd.Unknown {
			total = fmt.Sprint(progress.TotalBytes)
		}
		fmt.Fprintf(stderr, "%s %d/%s bytes\n", strings.ToLower(phase), progress.PresentBytes, total)
	}
}

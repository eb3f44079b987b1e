package assetd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// threePages answers with versions 2, 1 and 0, a page each, the middle one of which is empty,
// and records what was asked.
func threePages(asked *[]*assetdv1.ListRequest) func(*assetdv1.ListRequest) (*assetdv1.ListResponse, error) {
	return func(request *assetdv1.ListRequest) (*assetdv1.ListResponse, error) {
		*asked = append(*asked, request)
		entry := func(version string) []*assetdv1.ListResponse_Entry {
			return []*assetdv1.ListResponse_Entry{{AssetVersion: &assetdv1.AssetVersion{Version: version}}}
		}
		unreachable := []assetdv1.Source{assetdv1.Source_SOURCE_STORE}
		return map[string]*assetdv1.ListResponse{
			"":  {Entries: entry("2"), NextPageToken: "b", Unreachable: unreachable},
			"b": {NextPageToken: "c"},
			"c": {Entries: entry("0")},
		}[request.GetPageToken()], nil
	}
}

func TestListAsksForThePagesThatAreWanted(t *testing.T) {
	var asked []*assetdv1.ListRequest
	daemon := startDaemon(t)
	daemon.list = threePages(&asked)
	client, _ := newClient(t, daemon)
	listing := client.List(t.Context(), "nlp/", WithScope(ScopeCache), WithLatestOnly(),
		WithFullView(), WithPageSize(1))
	if len(asked) != 0 {
		t.Error("a page was asked for that nobody wanted")
	}

	for range 2 {
		asked = nil
		var versions []string
		for entry, err := range listing {
			if err != nil {
				t.Fatal(err)
			}
			if versions = append(versions, entry.GetAssetVersion().GetVersion()); len(asked) != 1 && len(versions) == 1 {
				t.Errorf("%d pages were asked for one entry", len(asked))
			}
		}
		if !slices.Equal(versions, []string{"2", "0"}) || len(asked) != 3 {
			t.Errorf("got %q by %d pages", versions, len(asked))
		}
		for page, token := range []string{"", "b", "c"} {
			want := &assetdv1.ListRequest{
				NamePrefix: "nlp/", Scope: ScopeCache, LatestOnly: true,
				View: assetdv1.ListRequest_VIEW_FULL, PageSize: 1, PageToken: token,
			}
			if !proto.Equal(asked[page], want) {
				t.Errorf("asked %v", asked[page])
			}
		}
	}
}

func TestListEndsWhenItIsLeft(t *testing.T) {
	var asked []*assetdv1.ListRequest
	daemon := startDaemon(t)
	daemon.list = threePages(&asked)
	client, _ := newClient(t, daemon)
	for range client.List(t.Context(), "") {
		break
	}
	for page, err := range client.ListPages(t.Context(), "") {
		if err != nil || len(page.GetUnreachable()) != 1 {
			t.Errorf("got %v and %v", page, err)
		}
		break
	}
	if len(asked) != 2 {
		t.Errorf("%d pages were asked for", len(asked))
	}
}

func TestListEndsWithItsError(t *testing.T) {
	damaged := failing(t, codes.DataLoss, "the index is damaged", because(ReasonBadIndex))
	daemon := startDaemon(t)
	daemon.list = func(request *assetdv1.ListRequest) (*assetdv1.ListResponse, error) {
		if request.GetPageToken() == "" {
			return &assetdv1.ListResponse{NextPageToken: "b"}, nil
		}
		return nil, damaged
	}
	client, _ := newClient(t, daemon)
	var got []string
	for entry, err := range client.List(t.Context(), "") {
		got = append(got, fmt.Sprint(entry == nil, errors.Is(err, ReasonBadIndex)))
	}
	if !slices.Equal(got, []string{"true true"}) {
		t.Errorf("got %q", got)
	}
}

func TestListFiles(t *testing.T) {
	daemon := startDaemon(t)
	var asked []*assetdv1.ListFilesRequest
	daemon.listFiles = func(request *assetdv1.ListFilesRequest) (*assetdv1.ListFilesResponse, error) {
		if asked = append(asked, request); len(asked) == 1 {
			return nil, errCut
		}
		page := &assetdv1.ListFilesResponse{
			Files: []*assetdv1.ListFilesResponse_Entry{{File: &assetdv1.AssetFile{Path: request.GetPageToken() + "x"}}},
		}
		if request.GetPageToken() == "" {
			page.NextPageToken = "b"
		}
		return page, nil
	}
	client, _ := newClient(t, daemon)
	var paths []string
	for entry, err := range client.ListFiles(t.Context(), "nlp/ranker[sub]", WithInclude("*.json"),
		WithExclude("a", "b"), WithFreshness(FreshnessCache), WithPageSize(2000)) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, entry.GetFile().GetPath())
	}
	want := &assetdv1.ListFilesRequest{
		Spec: "nlp/ranker[sub]", Include: []string{"*.json"}, Exclude: []string{"a", "b"},
		Freshness: FreshnessCache, PageSize: 2000, PageToken: "b",
	}
	if !slices.Equal(paths, []string{"x", "bx"}) || len(asked) != 3 || !proto.Equal(asked[2], want) {
		t.Errorf("got %q by %v", paths, asked)
	}
}

func TestListEndsWithItsContext(t *testing.T) {
	var asked []*assetdv1.ListRequest
	daemon := startDaemon(t)
	daemon.list = threePages(&asked)
	client, _ := newClient(t, daemon)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, last = range client.List(ctx, "") {
		cancel()
	}
	if !errors.Is(last, context.Canceled) || len(asked) != 1 {
		t.Errorf("got %v after %d pages", last, len(asked))
	}
}

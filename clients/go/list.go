package assetd

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// List gives the versions of all assets whose names begin with prefix, by name, and those of
// one asset newest first. "nlp/" lists that folder, "nlp/ra" also nlp/ranker.
//
// The daemon is asked for the next page when it is wanted, so that the pages show different
// moments; ctx is for all of them, where the timeout of the other clients is for each. Ranging a second time asks anew. With an error, an
// [*Error], which ends the iteration, there is no entry:
//
//	for entry, err := range client.List(ctx, "nlp/") {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// ReasonStoreUnavailable: only with [ScopeStore]. Without it, a store that does not answer is
// named by [Client.ListPages].
func (c *Client) List(
	ctx context.Context, prefix string, options ...ListOption,
) iter.Seq2[*assetdv1.ListResponse_Entry, error] {
	return entries(c.ListPages(ctx, prefix, options...), (*assetdv1.ListResponse).GetEntries)
}

// ListPages is List page by page: each names in its field unreachable what could not be asked.
// A page may have no entries although it is not the last.
func (c *Client) ListPages(
	ctx context.Context, prefix string, options ...ListOption,
) iter.Seq2[*assetdv1.ListResponse, error] {
	request := &assetdv1.ListRequest{NamePrefix: prefix}
	for _, option := range options {
		option.changeList(request)
	}
	return pages(func(token string) (*assetdv1.ListResponse, error) {
		page := proto.CloneOf(request)
		page.PageToken = token
		return ask(ctx, c, c.service.List, page)
	})
}

// ListFiles gives the files of one version in bytewise order of their paths, as [Client.List]
// does versions. The version need not be in the cache. All pages are about the version of the
// first. A part in the spec narrows the answer to what is at or below it, and globs to what
// such a fetch would bring.
//
// ReasonAssetNotFound, ReasonVersionNotFound, ReasonPartNotFound: there is no such thing.
func (c *Client) ListFiles(
	ctx context.Context, spec string, options ...ListFilesOption,
) iter.Seq2[*assetdv1.ListFilesResponse_Entry, error] {
	return entries(c.ListFilesPages(ctx, spec, options...), (*assetdv1.ListFilesResponse).GetFiles)
}

// ListFilesPages is ListFiles page by page: each names the version.
func (c *Client) ListFilesPages(
	ctx context.Context, spec string, options ...ListFilesOption,
) iter.Seq2[*assetdv1.ListFilesResponse, error] {
	request := &assetdv1.ListFilesRequest{Spec: spec}
	for _, option := range options {
		option.changeListFiles(request)
	}
	return pages(func(token string) (*assetdv1.ListFilesResponse, error) {
		page := proto.CloneOf(request)
		page.PageToken = token
		return ask(ctx, c, c.service.ListFiles, page)
	})
}

// pages asks for page after page, each when it is wanted.
func pages[Page interface{ GetNextPageToken() string }](
	ask func(token string) (Page, error),
) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		for token, more := "", true; more; more = token != "" {
			page, err := ask(token)
			if !yield(page, err) || err != nil {
				return
			}
			token = page.GetNextPageToken()
		}
	}
}

// entries gives what is on the pages.
func entries[Page, Entry any](
	pages iter.Seq2[Page, error], on func(Page) []*Entry,
) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for page, err := range pages {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, entry := range on(page) {
				if !yield(entry, nil) {
					return
				}
			}
		}
	}
}

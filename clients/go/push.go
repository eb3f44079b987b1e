package assetd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// stagedFolder is where the daemon finds what PushStaged names, below ASSETS_DIR.
const stagedFolder = ".assetd/push"

// PushedVersion is the version that a push created.
type PushedVersion struct {
	// Name is the asset's name, and Version the version in full, such as 1.3.
	Name    string
	Version string
	// Digest is the version's identity; empty if it was not to be had.
	Digest string
	// SizeBytes and FileCount are of all its files. Unknown if they were not to be had.
	SizeBytes int64
	FileCount int
	// Labels are what is kept with the version: those of the push that created it.
	Labels map[string]string
	// PushedBy is who the store says created it.
	PushedBy string
	// AlreadyExisted tells that it was there before this push: somebody else had pushed the
	// same. Nothing was changed. A repeat under one PushID gets the answer of the first try.
	AlreadyExisted bool
	// PushID is under what name the push can be repeated.
	PushID string
}

// Push creates one new version of an asset from a file or folder, and returns the version.
//
// All or nothing: when it returns well, the version is durable and listed; when it fails,
// nothing was created, unless the daemon was already committing. The source is read twice,
// once to hash it, on all processors, and once for what the store lacks, and must not change
// meanwhile. A cut push is continued where it was.
//
// spec is name for the next version, name:1 for the next 1.x, name:1.2 for exactly that. A slash
// at the end of path changes nothing: a link is no source.
//
// It fails with an [*Error]. ReasonUnsupportedFile: the source holds a symlink, hard link,
// device, FIFO or socket. ReasonInvalidPart: an empty folder, a name that is not UTF-8, or
// nothing that is not excluded. ReasonInvalidField: [WithExclude] for a file; a label or push
// id that is none. ReasonSourceChanged: it changed meanwhile. ReasonVersionExists: the version
// exists with other content. ReasonAssetExists, ReasonAssetNotFound: what [WithMode] demands
// is not so. ReasonPushInProgress: somebody else is pushing this version. See the constants
// for the rest. Where the source cannot be read it fails as the system does.
func (c *Client) Push(
	ctx context.Context, path, spec string, options ...PushOption,
) (*PushedVersion, error) {
	call, err := c.newPush(spec, options)
	if err != nil {
		return nil, err
	}
	exclude, err := parseGlobs(call.exclude)
	if err != nil {
		return nil, err
	}
	source, err := listSource(withoutSlashes(path), exclude)
	if err != nil {
		return nil, err
	}
	call.meter.totalBytes = source.totalBytes()
	digests, err := c.hash(ctx, source, &call.meter)
	if err != nil {
		return nil, err
	}
	call.header.Digest = digests.digest
	call.header.Kind = assetdv1.AssetKind_ASSET_KIND_FILE
	if source.isFolder {
		call.header.Kind = assetdv1.AssetKind_ASSET_KIND_DIRECTORY
	}
	call.content = newLocalContent(source, digests, !call.header.GetValidateOnly())
	return call.run(ctx)
}

// hash reads the source once. It ends with ctx, or with the client, at the next block.
func (c *Client) hash(ctx context.Context, source *source, meter *pushMeter) (*digests, error) {
	hashing, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	digests, err := hashSource(hashing, source, meter.hashed)
	if err != nil {
		return nil, c.hashingFailed(ctx, err)
	}
	return digests, nil
}

// hashingFailed tells the end of the context or the client from a file that could not be read.
func (c *Client) hashingFailed(ctx context.Context, err error) error {
	var local localFailure
	if errors.As(err, &local) {
		return local.error
	}
	if ctx.Err() != nil || c.life.Err() != nil {
		return c.interrupted(ctx, nil)
	}
	return err
}

// PushStaged creates one new version from what lies below ASSETS_DIR/.assetd/push on the node.
//
// No byte travels to the daemon: it reads the file or folder where it lies, which must not
// change until the push has ended. path is relative to that folder, or absolute and below it,
// as the daemon or this client's ASSETS_DIR has it. All else is as for [Client.Push], but that
// nothing can be excluded.
//
// ReasonInvalidField: the path is absolute and not below that folder, or nothing lies there.
// ReasonSourceNotAllowed: the path leads elsewhere.
func (c *Client) PushStaged(
	ctx context.Context, path, spec string, options ...PushOption,
) (*PushedVersion, error) {
	call, err := c.newFoundPush(spec, options)
	if err != nil {
		return nil, err
	}
	below, err := c.belowStaged(ctx, path)
	if err != nil {
		return nil, err
	}
	call.header.Content = &assetdv1.PushHeader_StagedPath{StagedPath: below}
	return call.run(ctx)
}

// PushFrom creates one new version from where a URI points, and returns the version.
//
// The daemon reads it; no byte comes from here. uri is s3://... or file://..., among those that
// the daemon's operator allows. All else is as for [Client.PushStaged].
//
// ReasonSourceNotAllowed: the operator does not allow it.
func (c *Client) PushFrom(
	ctx context.Context, uri, spec string, options ...PushOption,
) (*PushedVersion, error) {
	call, err := c.newFoundPush(spec, options)
	if err != nil {
		return nil, err
	}
	call.header.Content = &assetdv1.PushHeader_SourceUri{SourceUri: uri}
	return call.run(ctx)
}

func (c *Client) newPush(spec string, options []PushOption) (*pushCall, error) {
	call := &pushCall{
		client: c,
		header: &assetdv1.PushHeader{Spec: spec},
		meter:  pushMeter{totalBytes: Unknown},
	}
	for _, option := range options {
		option.changePush(call)
	}
	if call.header.GetPushId() == "" {
		call.header.PushId = uuid.NewString()
	}
	return call, checkPushID(call.header.GetPushId())
}

func (c *Client) newFoundPush(spec string, options []PushOption) (*pushCall, error) {
	call, err := c.newPush(spec, options)
	if err != nil {
		return nil, err
	}
	if len(call.exclude) > 0 {
		return nil, ownError(ReasonInvalidField, "exclude is for what this process reads: the "+
			"daemon takes all that it finds", "field", "exclude")
	}
	call.content = foundContent{}
	return call, nil
}

// checkPushID compares with what the daemon takes, who would say so only once all is hashed.
func checkPushID(id string) error {
	parsed, err := uuid.Parse(id)
	if err == nil && parsed.Version() == 4 && parsed.String() == id {
		return nil
	}
	return ownError(ReasonInvalidField, fmt.Sprintf(
		"%q is no UUID4 in its canonical form, so that no push has it", id),
		"field", "header.push_id", "push_id", id)
}

// belowStaged returns the path below the folder of what is staged.
func (c *Client) belowStaged(ctx context.Context, path string) (string, error) {
	if !filepath.IsAbs(path) {
		return filepath.ToSlash(path), nil
	}
	if c.assetsDir != "" {
		if below, ok := relativeTo(filepath.Join(c.assetsDir, stagedFolder), path); ok {
			return below, nil
		}
	}
	cache := assetdv1.NewCacheServiceClient(c.connection)
	status, err := ask(ctx, c, cache.GetCacheStatus, &assetdv1.GetCacheStatusRequest{})
	if err != nil {
		return "", err
	}
	folder := filepath.Join(status.GetAssetsDir(), stagedFolder)
	below, ok := relativeTo(folder, path)
	if !ok {
		return "", ownError(ReasonInvalidField, fmt.Sprintf(
			"%s is not below %s, where the daemon looks for it", path, folder),
			"field", "header.staged_path", "staged_path", path)
	}
	return below, nil
}

func relativeTo(folder, path string) (string, bool) {
	below, err := filepath.Rel(folder, path)
	return filepath.ToSlash(below), err == nil && below != ".." &&
		!strings.HasPrefix(below, ".."+string(filepath.Separator))
}

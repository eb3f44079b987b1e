package main

import (
	"context"
	"iter"

	"github.com/assetd/assetd/clients/go"
	"github.com/assetd/assetd/clients/go/assetdv1"
)

// performers do what a request asks and return the answer; nil if it is written already.
var performers = map[string]func(*runner, *action) (fields, error){
	"resolve":    resolve,
	"fetch":      fetch,
	"hold":       hold,
	"push":       push,
	"list":       list,
	"list_files": listFiles,
}

func resolve(r *runner, action *action) (fields, error) {
	ctx, cancel := action.limited()
	defer cancel()
	answer, err := r.client.Resolve(ctx, action.Spec, action.lookupOptions()...)
	if err != nil {
		return nil, err
	}
	version, state := answer.GetAssetVersion(), answer.GetCacheState()
	return fields{
		"name":          version.GetName(),
		"version":       version.GetVersion(),
		"kind":          word(version.GetKind(), "ASSET_KIND_"),
		"size_bytes":    version.SizeBytes,
		"digest":        version.GetDigest(),
		"resolution":    word(answer.GetResolution(), "RESOLUTION_"),
		"presence":      word(state.GetPresence(), "PRESENCE_"),
		"path":          state.GetPath(),
		"relative_path": state.GetRelativePath(),
	}, nil
}

func fetch(r *runner, action *action) (fields, error) {
	ctx, cancel := action.limited()
	defer cancel()
	asset, err := r.client.Fetch(ctx, action.Spec, action.fetchOptions(r)...)
	if err != nil {
		return nil, err
	}
	return shownAsset(asset), nil
}

// hold answers once the version is held, and goes on until it is released, cancelled or lost.
func hold(r *runner, action *action) (fields, error) {
	ctx, cancel := action.limited()
	defer cancel()
	asset, err := r.client.Fetch(ctx, action.Spec, append(action.fetchOptions(r), assetd.WithHold())...)
	if err != nil {
		return nil, err
	}
	defer asset.Close()
	r.write(fields{"id": action.ID, "answer": shownAsset(asset)})
	select {
	case <-action.released:
		return nil, nil
	case <-action.Done():
		return nil, context.Canceled
	case <-asset.HoldEnded():
	}
	if err := asset.Close(); err != nil {
		r.write(fields{"id": action.ID, "lost": shownError(err)})
	}
	return nil, nil
}

func push(r *runner, action *action) (fields, error) {
	ctx, cancel := action.limited()
	defer cancel()
	options, err := action.pushOptions(r)
	if err != nil {
		return nil, err
	}
	push, source := r.client.Push, action.Source
	if action.Staged != "" {
		push, source = r.client.PushStaged, action.Staged
	} else if action.URI != "" {
		push, source = r.client.PushFrom, action.URI
	}
	pushed, err := push(ctx, source, action.Spec, options...)
	if err != nil {
		return nil, err
	}
	return fields{
		"name":            pushed.Name,
		"version":         pushed.Version,
		"digest":          pushed.Digest,
		"already_existed": pushed.AlreadyExisted,
		"size_bytes":      known(pushed.SizeBytes),
		"file_count":      known(int64(pushed.FileCount)),
		"labels":          pushed.Labels,
		"push_id":         pushed.PushID,
	}, nil
}

func list(r *runner, action *action) (fields, error) {
	ctx, cancel := action.limited()
	defer cancel()
	options, err := action.listOptions()
	if err != nil {
		return nil, err
	}
	entries := r.client.List(ctx, action.Prefix, options...)
	return each(r, action, entries, func(entry *assetdv1.ListResponse_Entry) fields {
		version := entry.GetAssetVersion()
		return fields{
			"spec":       version.GetName() + ":" + version.GetVersion(),
			"presence":   word(entry.GetCacheState().GetPresence(), "PRESENCE_"),
			"size_bytes": version.SizeBytes,
			"digest":     version.GetDigest(),
			"in_store":   entry.InStore,
		}
	})
}

func listFiles(r *runner, action *action) (fields, error) {
	ctx, cancel := action.limited()
	defer cancel()
	entries := r.client.ListFiles(ctx, action.Spec, action.listFilesOptions()...)
	return each(r, action, entries, func(entry *assetdv1.ListFilesResponse_Entry) fields {
		return fields{
			"path":       entry.GetFile().GetPath(),
			"size_bytes": entry.GetFile().SizeBytes,
			"digest":     entry.GetFile().GetDigest(),
			"cached":     entry.GetCached(),
		}
	})
}

// each writes the entries, as many as the request wants, and answers how many they were.
func each[Entry any](
	r *runner, action *action, entries iter.Seq2[*Entry, error], shown func(*Entry) fields,
) (fields, error) {
	count := 0
	if action.Limit != nil && *action.Limit <= 0 {
		return fields{"count": count}, nil
	}
	for entry, err := range entries {
		if err != nil {
			return nil, err
		}
		r.write(fields{"id": action.ID, "entry": shown(entry)})
		if count++; action.Limit != nil && count >= *action.Limit {
			break
		}
	}
	return fields{"count": count}, nil
}

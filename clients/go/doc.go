// Package assetd asks the assetd daemon of this node for assets.
//
// A fetch answers with a path: the daemon makes the version present below ASSETS_DIR, which
// the caller shares with it, and no byte of the asset travels to the caller.
//
//	client, err := assetd.New("")
//	...
//	defer client.Close()
//	model, err := client.Fetch(ctx, "nlp/ranker:1", assetd.WithHold())
//	...
//	defer model.Close()
//	load(model.Path)
//
// Failures of a call are an [*Error]; switch on its reason with errors.Is:
//
//	if errors.Is(err, assetd.ReasonVersionNotFound) { ... }
//
// A daemon that is away for a while, or a stream that was cut, is no failure yet: calls are
// repeated as the [RetryPolicy] says, and a fetch continues where its download is by then.
//
// Where ASSETS_DIR is set, a pinned version that stands there is found by this process, without
// a call and in a few microseconds; see [Client.Fetch].
//
// The generated messages and stubs, for what has no helper here, are in the package
// assetdv1; [Client.Connection] is what they are made with, and [FromError] gives their
// errors the same type. The package assetdotel hands a program's trace on.
package assetd

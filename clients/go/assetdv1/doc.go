// Package assetdv1 holds the messages and stubs of the wire contract assetd.v1.
//
// All but this file is generated from protos/assetd/v1 by tools/generate. The promises of
// each call stand in the comments of [AssetServiceClient] and [CacheServiceClient].
package assetdv1

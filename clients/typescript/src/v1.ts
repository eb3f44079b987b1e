/** The generated stubs of the contract, for programs that talk to a daemon by themselves. */
export * from "./gen/assetd/v1/asset_pb.js";
export * from "./gen/assetd/v1/asset_service_pb.js";
export * from "./gen/assetd/v1/cache_service_pb.js";
export * from "./gen/assetd/v1/error_reason_pb.js";

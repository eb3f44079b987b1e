/**
 * The Java client of assetd: fetch and push model assets by name and version.
 *
 * <pre>{@code
 * try (AssetdClient client = AssetdClient.create();
 *     Hold model = client.hold("nlp/ranker:1")) {
 *   load(model.path());
 * }
 * }</pre>
 *
 * <p>The generated messages and stubs are in {@code io.assetd.v1}.
 */
package io.assetd;

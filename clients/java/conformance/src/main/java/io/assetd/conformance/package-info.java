/**
 * Does what the conformance suite asks, on the public client alone: one JSON object a line on
 * standard input and output. Knows nothing of what is expected.
 */
package io.assetd.conformance;

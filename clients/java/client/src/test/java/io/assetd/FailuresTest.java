package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import io.assetd.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.lang.reflect.Field;
import java.time.Duration;
import java.util.Map;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class FailuresTest {
  private static final Address ADDRESS = Address.parse("unix:///a.sock", false);

  private static Metadata trailers(String reason, byte[] details) {
    Metadata trailers = new Metadata();
    if (reason != null) {
      trailers.put(Metadata.Key.of("assetd-reason", Metadata.ASCII_STRING_MARSHALLER), reason);
    }
    if (details != null) {
      trailers.put(
          Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER), details);
    }
    return trailers;
  }

  private static byte[] details(String domain, Status.Code code) {
    ErrorInfo info =
        ErrorInfo.newBuilder()
            .setDomain(domain)
            .setReason("NEWER_REASON")
            .putMetadata("a", "b")
            .build();
    return com.google.rpc.Status.newBuilder()
        .setCode(code.value())
        .addDetails(Any.pack(info))
        .build()
        .toByteArray();
  }

  private static AssetdException read(Status status, Metadata trailers) {
    return Failures.read(status, trailers, ADDRESS);
  }

  /** A reason of a newer daemon is passed through, with its metadata. */
  @Test
  void newerReason() {
    byte[] details = details("assetd.v1", Status.Code.ABORTED);
    AssetdException failure = read(Status.ABORTED, trailers("OTHER", details));
    assertEquals("NEWER_REASON", failure.reason());
    assertEquals(Map.of("a", "b"), failure.metadata());
    assertEquals(Status.Code.ABORTED, failure.code());
    assertEquals("the daemon gave no message", failure.getMessage());
  }

  /** Where the details were lost, are somebody else's or cannot be read, the trailer tells. */
  @Test
  void trailer() {
    for (byte[] details :
        new byte[][] {
          null, details("proxy", Status.Code.NOT_FOUND), {1, 2, 3}, {}
        }) {
      AssetdException failure = read(Status.NOT_FOUND, trailers("NOT_CACHED", details));
      assertEquals(Reason.NOT_CACHED, failure.reason());
      assertEquals(Map.of(), failure.metadata());
    }
  }

  /** Details whose code is not that of the status are read all the same. */
  @Test
  void otherCode() {
    byte[] details = details("assetd.v1", Status.Code.ABORTED);
    assertEquals("NEWER_REASON", read(Status.NOT_FOUND, trailers(null, details)).reason());
  }

  /** A status without a reason comes from gRPC: nobody answers, or the deadline has passed. */
  @Test
  void withoutAReason() {
    for (Status status : new Status[] {Status.UNAVAILABLE, Status.CANCELLED}) {
      Status told = status.withCause(new IllegalStateException(new IllegalStateException("why")));
      AssetdException failure = read(told, null);
      assertInstanceOf(DaemonUnavailableException.class, failure);
      assertEquals(Status.Code.UNAVAILABLE, failure.code());
      assertEquals("why", failure.metadata().get("cause"));
      assertEquals("unix:///a.sock", failure.metadata().get("address"));
    }
    assertInstanceOf(
        CallTimeoutException.class, read(Status.DEADLINE_EXCEEDED, new Metadata()));
    AssetdException draining = read(Status.UNAVAILABLE, trailers("SHUTTING_DOWN", null));
    assertFalse(draining instanceof DaemonUnavailableException);
    assertTrue(draining.is(Reason.SHUTTING_DOWN));
  }

  /** The failure of a stub is read alike, and kept as the cause. */
  @Test
  void ofAStub() {
    StatusRuntimeException thrown =
        ScriptedDaemon.error(
            Status.Code.UNAVAILABLE, Reason.LOCK_BUSY, Map.of("name", "a"), 1500L);
    AssetdException failure = AssetdException.from(new IllegalStateException(thrown));
    assertEquals(Reason.LOCK_BUSY, failure.reason());
    assertEquals(Duration.ofMillis(1500), failure.retryAfter().orElseThrow());
    assertSame(thrown, failure.getCause().getCause());
    assertEquals(Status.Code.UNAVAILABLE, failure.code());
  }

  /** Every reason of the contract has its name here, and no other. */
  @Test
  void reasons() throws IllegalAccessException {
    TreeSet<String> here = new TreeSet<>();
    for (Field field : Reason.class.getFields()) {
      assertEquals(field.getName(), field.get(null));
      here.add(field.getName());
    }
    TreeSet<String> contract = new TreeSet<>();
    for (ErrorReason reason : ErrorReason.values()) {
      contract.add(reason.name().replace("ERROR_REASON_", ""));
    }
    contract.remove("UNSPECIFIED");
    contract.remove("UNRECOGNIZED");
    assertEquals(contract, here);
  }

  /** What is serialized keeps its reason and code. */
  @Test
  void serialized() throws Exception {
    AssetdException failure =
        AssetdException.own("m", Reason.NOT_CACHED, Status.Code.NOT_FOUND, Map.of("a", "b"));
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream output = new ObjectOutputStream(bytes)) {
      output.writeObject(failure);
    }
    try (ObjectInputStream input =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      AssetdException read = (AssetdException) input.readObject();
      assertEquals(Reason.NOT_CACHED, read.reason());
      assertEquals(Status.Code.NOT_FOUND, read.code());
      assertEquals(Map.of(), read.metadata());
    }
  }
}

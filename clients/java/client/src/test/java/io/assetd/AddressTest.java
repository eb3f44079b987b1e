package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class AddressTest {
  private static String target(String text) {
    return Address.parse(text, false).target();
  }

  /** An address is a socket's path, or a loopback host and port. */
  @Test
  void addresses() {
    assertEquals("unix:///run/a.sock", target("unix:///run/a.sock"));
    assertEquals("unix:///run/a.sock", target("unix:/run/a.sock"));
    assertEquals("/run/a.sock", Address.parse("unix:///run/a.sock", false).socketPath());
    for (String local : List.of("localhost:1", "127.0.0.1:7070", "127.9.9.9:65535", "[::1]:7070")) {
      assertEquals(local, target(local));
      assertEquals(local, target("tcp://" + local));
    }
    assertNull(Address.parse("[::1]:7070", false).socketPath());
  }

  /** Nothing is said in the clear beyond this node. */
  @Test
  void beyondThisNode() {
    for (String far : List.of("10.0.0.1:7070", "example.com:7070", "127.0.0.1.example.com:1")) {
      assertThrows(IllegalArgumentException.class, () -> Address.parse(far, false));
      assertEquals(far, Address.parse(far, true).target());
    }
  }

  /** What is no address is refused at once. */
  @Test
  void malformed() {
    for (String text :
        List.of("", "a", "a:b", "unix:", "unix://", "unix://a", "unix:a", "unix:///", "unix:///a/",
            "localhost", "localhost:", "localhost:65536", ":1", "http://localhost:1",
            "localhost:1/a", "unix:///" + "a".repeat(107))) {
      assertThrows(IllegalArgumentException.class, () -> Address.parse(text, true), text);
    }
  }

  /** The program's word wins, then ASSETD_ADDRESS, then the default of this user. */
  @Test
  void order() {
    Map<String, String> environment =
        Map.of("ASSETD_ADDRESS", "unix:///e", "XDG_RUNTIME_DIR", "/run/user/1");
    assertEquals("unix:///g", Address.find("unix:///g", false, environment).target());
    assertEquals("unix:///e", Address.find(null, false, environment).target());
    assertEquals("unix:///e", Address.find("", false, environment).target());
    assertEquals("unix:///run/assetd/assetd.sock", Address.standard(environment, true));
    assertEquals("unix:///run/user/1/assetd/assetd.sock", Address.standard(environment, false));
    IllegalArgumentException none =
        assertThrows(
            IllegalArgumentException.class, () -> Address.standard(Map.of(), false));
    assertTrue(none.getMessage().contains("XDG_RUNTIME_DIR"));
  }

  /** ASSETS_DIR is found as the daemon finds it. */
  @Test
  void assetsDir() {
    Map<String, String> both = Map.of("ASSETS_DIR", "/a", "MODELKIT_ASSETS_DIR", "/m");
    assertEquals(Path.of("/a"), Address.findAssetsDir(null, both));
    assertEquals(Path.of("/m"), Address.findAssetsDir(null, Map.of("MODELKIT_ASSETS_DIR", "/m")));
    assertEquals(Path.of("/g"), Address.findAssetsDir(Path.of("/g"), both));
    assertNull(Address.findAssetsDir(Path.of(""), both));
    assertNull(Address.findAssetsDir(null, Map.of("ASSETS_DIR", "")));
  }
}

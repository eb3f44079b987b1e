package assetd

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

const (
	addressVariable = "ASSETD_ADDRESS"
	systemAddress   = "unix:///run/assetd/assetd.sock"
)

// defaultAddress returns where the daemon is when the program does not say: what the
// operator wrote into ASSETD_ADDRESS, else the socket that a daemon of this user listens on.
func defaultAddress(getenv func(string) string, effectiveUserID int) (string, error) {
	if address := getenv(addressVariable); address != "" {
		return address, nil
	}
	if effectiveUserID == 0 {
		return systemAddress, nil
	}
	if folder := getenv("XDG_RUNTIME_DIR"); folder != "" {
		return "unix://" + filepath.Join(folder, "assetd", "assetd.sock"), nil
	}
	return "", errors.New("assetd: where is the daemon? Set " + addressVariable +
		" to unix:///path/to/assetd.sock or host:port (XDG_RUNTIME_DIR is not set either)")
}

// dialTarget returns address as gRPC's resolvers want it, and whether it can be talked to in
// the clear: what is said there does not leave this node.
func dialTarget(address string) (target string, isLocal bool, err error) {
	if path, found := strings.CutPrefix(address, "unix:"); found {
		// After "//" there would be a host, and sockets have none.
		path, hasHost := strings.CutPrefix(path, "//")
		if strings.Trim(path, "/") == "" || hasHost && path[0] != '/' {
			return "", false, badAddress(address)
		}
		return address, true, nil
	}
	authority := strings.TrimPrefix(address, "tcp://")
	host, port, err := net.SplitHostPort(authority)
	if err != nil || host == "" || port == "" || strings.Contains(host, "/") {
		return "", false, badAddress(address)
	}
	return "dns:///" + authority, isLoopback(host), nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func badAddress(address string) error {
	return fmt.Errorf("assetd: %q is no address: write unix:///path/to/assetd.sock or host:port",
		address)
}

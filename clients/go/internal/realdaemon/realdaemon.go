// Package realdaemon starts assetd itself for tests.
package realdaemon

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Daemon is assetd itself, in a process of its own, with an empty store of its own.
type Daemon struct {
	// Address is what clients dial.
	Address string
	// AssetsDir is where its versions stand.
	AssetsDir string
	// Environment is that of this process, with the daemon's own variables instead of ours.
	Environment []string

	process *exec.Cmd
}

// Start starts the daemon of this repository; it ends with the test. Where it is not set up the
// test is skipped; where tests may not be skipped, under CI=true, it fails.
func Start(t *testing.T) *Daemon {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	python := filepath.Join(filepath.Dir(here), "../../../../.venv/bin/python")
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the daemon is not set up: %v", err)
		}
		t.Skipf("the daemon is not set up, make setup does it: %v", err)
	}
	// t.TempDir has the test's name in it, and a socket's path has at most 107 bytes.
	folder, err := os.MkdirTemp("", "assetd-go-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	daemon := &Daemon{
		Address:   "unix://" + filepath.Join(folder, "assetd.sock"),
		AssetsDir: filepath.Join(folder, "assets"),
	}
	store := filepath.Join(folder, "store")
	for _, made := range []string{store, daemon.AssetsDir} {
		if err := os.Mkdir(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "ASSET") && !strings.HasPrefix(variable, "MODELKIT_") {
			daemon.Environment = append(daemon.Environment, variable)
		}
	}
	daemon.Environment = append(daemon.Environment, "ASSETS_DIR="+daemon.AssetsDir,
		"ASSETD_STORE=file://"+store, "ASSETD_LISTEN="+daemon.Address)
	daemon.start(t, python)
	t.Cleanup(func() { daemon.stop(t) })
	return daemon
}

// start returns once the daemon has said that it serves.
func (d *Daemon) start(t *testing.T, python string) {
	t.Helper()
	d.process = exec.Command(python, "-m", "assetd_server")
	d.process.Env = d.Environment
	log := new(strings.Builder)
	d.process.Stderr = log
	output, err := d.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		d.process.Wait()
		t.Fatalf("it does not serve: %v\n%s", err, log)
	}
}

func (d *Daemon) stop(t *testing.T) {
	d.process.Process.Signal(syscall.SIGTERM)
	guard := time.AfterFunc(time.Minute, func() { d.process.Process.Kill() })
	defer guard.Stop()
	if err := d.process.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// Restart stops it and starts another one at the same place.
func (d *Daemon) Restart(t *testing.T) {
	t.Helper()
	python := d.process.Path
	d.stop(t)
	d.start(t, python)
}

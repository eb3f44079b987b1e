package assetd

import (
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
)

func TestDefaultAddress(t *testing.T) {
	tests := map[string]struct {
		environment     map[string]string
		effectiveUserID int
		want            string
	}{
		"the operator's word comes first": {
			environment: map[string]string{
				"ASSETD_ADDRESS": "127.0.0.1:7070", "XDG_RUNTIME_DIR": "/run/user/1000",
			},
			want: "127.0.0.1:7070",
		},
		"root talks to the system's daemon": {
			environment: map[string]string{"XDG_RUNTIME_DIR": "/run/user/0"},
			want:        "unix:///run/assetd/assetd.sock",
		},
		"others talk to their own": {
			environment:     map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000"},
			effectiveUserID: 1000,
			want:            "unix:///run/user/1000/assetd/assetd.sock",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			getenv := func(key string) string { return test.environment[key] }
			got, err := defaultAddress(getenv, test.effectiveUserID)
			if err != nil || got != test.want {
				t.Errorf("got %q and %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestNoAddressSaysWhatToSet(t *testing.T) {
	_, err := defaultAddress(func(string) string { return "" }, 1000)
	if err == nil || !strings.Contains(err.Error(), "ASSETD_ADDRESS") {
		t.Errorf("got %v", err)
	}
}

func TestNewReadsTheEnvironment(t *testing.T) {
	daemon := startDaemon(t, play(nil, started(), completed()))
	t.Setenv("ASSETD_ADDRESS", daemon.address)
	client, err := New("")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Fetch(t.Context(), "nlp/ranker"); err != nil {
		t.Error(err)
	}
}

func TestNewSaysNothingInTheClearBeyondThisNode(t *testing.T) {
	for _, address := range []string{"192.0.2.1:7070", "assets.example:7070", "[2001:db8::1]:7070"} {
		if client, err := New(address); err == nil {
			client.Close()
			t.Errorf("%s would be talked to in the clear", address)
		} else if !strings.Contains(err.Error(), "WithTransportCredentials") {
			t.Errorf("the message does not say what to add: %v", err)
		}
		client, err := New(address, WithTransportCredentials(credentials.NewTLS(nil)))
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	for _, address := range []string{"localhost:7070", "127.0.0.1:7070", "[::1]:7070", "unix:a.sock"} {
		client, err := New(address)
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{
		"assetd", "unix:", "unix:///", ":7070", "localhost:", "http://localhost:7070",
		"/run/assetd/assetd.sock", "unix://run/assetd.sock",
	} {
		if client, err := New(address); err == nil {
			client.Close()
			t.Errorf("%q was taken for an address", address)
		} else if !strings.Contains(err.Error(), address) {
			t.Errorf("the message does not show %q: %v", address, err)
		}
	}
}
